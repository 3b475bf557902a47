#pragma once

/* How an object is divided into the parts of a multipart upload. */

#include <stddef.h>
#include <stdint.h>

/* Amazon S3's limits of a multipart upload. */
#define S3_MAX_PARTS 10000u
#define S3_MAX_PART_BYTES ((uint64_t)5 << 30)

/* Up to this size an object is sent in one piece. */
#define S3_SINGLE_PUT_BYTES ((uint64_t)16 << 20)

/*
 * Size of the parts of a file of @size bytes: 16 MiB, more where 10 000 of those don't suffice, in
 * whole MiB. 0 where the file is larger than any upload can be.
 */
uint64_t s3_file_part_bytes(uint64_t size);

/*
 * Size of part @number (from 1) of a stream whose length is not known: 1 000 parts of 8 MiB, 3 000
 * of 16 MiB, 6 000 of 32 MiB, which is 242 GiB in all. 0 behind the last one.
 */
size_t s3_stream_part_bytes(unsigned number);
