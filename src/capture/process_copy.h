#pragma once

/*
 * Memory of a process that is copied while it is held: all that belongs to its core, or just what a
 * process_clone lacks (madvise(2)'s MADV_DONTFORK and MADV_WIPEONFORK; huge pages, which the clone
 * may lose to its parent).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "capture/live_mappings.h"
#include "capture/live_pages.h"

struct process_copy {
    int fd;                        /* memfd: a byte lies at its address; a hole was never touched */
    struct live_mappings mappings; /* what is in it */
    bool is_whole;
    struct live_range *shared; /* else: pages of shared memory that were there; a clone's own page
                                  tables don't have them */
    size_t n_shared, shared_room;
    struct copy_window *windows; /* parts of the file that are mapped, by address */
    size_t n_windows, window_room;
    uint64_t prepared;   /* bytes of memory that the file has already */
    uint64_t unreadable; /* bytes that couldn't be read, and are zeros */
};

/* Nothing yet: process_copy_free() is due. */
void process_copy_init(struct process_copy *copy);

/*
 * Lists what is to be copied; again where the process has run since.
 *
 * @filter  /proc/PID/coredump_filter
 *
 * Returns 0, -ENOMEM or -errno.
 */
int process_copy_list(int smaps_fd, int mem_fd, int pagemap_fd, unsigned filter, bool is_whole,
                      struct process_copy *copy);

/*
 * Takes the memory for what is listed, which may be slow to get, while the process runs still. What
 * it has more by the time of the copy is made room for then.
 *
 * Returns 0, -ENOMEM or -errno.
 */
int process_copy_prepare(struct process_copy *copy, int pagemap_fd);

/* How many bytes that is: pages that are there. @pagemap_fd  /proc/PID/pagemap */
uint64_t process_copy_size(const struct process_copy *copy, int pagemap_fd);

/*
 * Copies it. What can't be read is counted.
 *
 * @pid     of the process, whose memory is read by process_vm_readv(2) where that is allowed
 * @mem_fd  else by /proc/PID/mem
 *
 * Returns 0, -ESRCH (the process was killed meanwhile), -ENOMEM or -errno.
 */
int process_copy_take(struct process_copy *copy, pid_t pid, int mem_fd, int pagemap_fd);

void process_copy_free(struct process_copy *copy);
