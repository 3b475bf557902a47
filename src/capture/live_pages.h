#pragma once

/*
 * Which pages of a held process are there, in memory or swapped. Reading another would make it:
 * time, page tables, and for shared memory the page itself.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct live_range {
    uint64_t start, end; /* addresses, of whole pages */
};

/* A walk over a range of addresses. */
struct live_pages {
    int fd;                          /* /proc/PID/pagemap; -1: every page is taken to be there */
    int copy_fd;                     /* a process_copy's file */
    bool is_copied;                  /* the range is looked at there */
    const struct live_range *listed; /* by address: what was there of memory whose pages can't be */
    size_t n_listed;                 /* looked for any more */
    bool is_listed;                  /* the range is of such memory */
    bool has_no_ioctl;               /* Linux before 6.7: no PAGEMAP_SCAN */
    uint64_t at, end;                /* not looked at yet */
    size_t next, count;              /* of @found */
    struct live_range found[512];
};

/* Begins a walk with what says where, as it is. */
void live_pages_begin(struct live_pages *pages, uint64_t start, uint64_t end);

/*
 * Fetches the next range of pages that are there; it may adjoin the one before.
 *
 * Returns 1, 0 at the end (of a process that is gone too), or -errno.
 */
int live_pages_next(struct live_pages *pages, struct live_range *ret);
