#pragma once

/* The memory of a dead process, as far as its core holds it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One PT_LOAD of the core. */
struct core_segment {
    uint64_t start, end;  /* addresses */
    uint64_t file_offset; /* of the core */
    uint64_t file_size;   /* less than end - start where the kernel left pages out */
    bool executable;
};

struct core_memory {
    struct core_segment *segments; /* by address */
    size_t n_segments;
};

/* The segment that an address lies in, or NULL. */
const struct core_segment *core_memory_find(const struct core_memory *memory, uint64_t address);

/*
 * Reads @size bytes at an address; they may span adjacent segments.
 *
 * Returns 0, -ENODATA (not in the core: left out by coredump_filter, never mapped, or the core is
 * truncated) or -errno of reading.
 */
int core_memory_read(const struct core_memory *memory, int core_fd, uint64_t address, void *ret,
                     size_t size);
