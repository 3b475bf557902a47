#include "store/s3_parts.h"

#define MIB ((uint64_t)1 << 20)

uint64_t s3_file_part_bytes(uint64_t size)
{
    uint64_t part = size / S3_MAX_PARTS + (size % S3_MAX_PARTS > 0);

    part = (part + MIB - 1) / MIB * MIB;
    if (part < S3_SINGLE_PUT_BYTES)
        return S3_SINGLE_PUT_BYTES;
    return part <= S3_MAX_PART_BYTES ? part : 0;
}

size_t s3_stream_part_bytes(unsigned number)
{
    static const struct {
        unsigned last;
        size_t bytes;
    } schedule[] = {
        {1000, 8 * MIB},
        {4000, 16 * MIB},
        {S3_MAX_PARTS, 32 * MIB},
    };

    for (size_t i = 0; i < sizeof(schedule) / sizeof(schedule[0]); i++)
        if (number <= schedule[i].last)
            return schedule[i].bytes;
    return 0;
}
