#include "capture/core_memory.h"

#include <errno.h>
#include <sys/types.h>

#include "util/io.h"

const struct core_segment *core_memory_find(const struct core_memory *memory, uint64_t address)
{
    size_t low = 0, high = memory->n_segments;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct core_segment *segment = &memory->segments[middle];

        if (address < segment->start)
            high = middle;
        else if (address >= segment->end)
            low = middle + 1;
        else
            return segment;
    }
    return NULL;
}

int core_memory_read(const struct core_memory *memory, int core_fd, uint64_t address, void *ret,
                     size_t size)
{
    char *next = ret;

    while (size > 0) {
        const struct core_segment *segment = core_memory_find(memory, address);
        uint64_t skip = segment ? address - segment->start : 0;
        size_t part;
        ssize_t n;

        if (!segment || skip >= segment->file_size)
            return -ENODATA;
        part = segment->file_size - skip < size ? (size_t)(segment->file_size - skip) : size;
        n = pread_full(core_fd, next, part, segment->file_offset + skip);
        if (n < 0)
            return (int)n;
        if ((size_t)n < part)
            return -ENODATA;
        next += part;
        address += part;
        size -= part;
    }
    return 0;
}
