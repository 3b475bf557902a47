#pragma once

/*
 * Where a core's bytes come from: a stream that is read once, in order, so that no one ever holds a
 * whole core. Holes are told apart from data: a sparse core of 5 GiB costs what its data costs.
 *
 * Implementations: kernel_core.h (the kernel's core file), live_process.h (a process that is held).
 */

#include <stddef.h>
#include <stdint.h>

/* A piece of the stream: data, or (where data is NULL) that many zero bytes. */
struct core_run {
    const void *data; /* valid until the next call */
    uint64_t size;
};

struct core_source {
    /* Fetches the next piece. Returns 1 with a piece (at most 1 MiB where it has data), 0 at the
     * end, or -errno. */
    int (*next)(struct core_source *source, struct core_run *ret);

    /* Frees the source. */
    void (*close)(struct core_source *source);

    uint64_t size; /* of the whole stream */
};

static inline void cleanup_core_source(struct core_source **source)
{
    if (*source)
        (*source)->close(*source);
}
#define _cleanup_core_source_ __attribute__((cleanup(cleanup_core_source)))
