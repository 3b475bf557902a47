#pragma once

/* The memory of a held process, which may be torn away at any time: SIGKILL can't be held. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages as they are read: every machine's are a multiple of it. */
uint64_t live_page_size(void);

struct live_memory {
    int mem_fd;           /* /proc/PID/mem */
    int pagemap_fd;       /* /proc/PID/pagemap, or -1 */
    uint64_t *unreadable; /* is added the bytes that couldn't be read */
};

/*
 * Reads @size bytes from a page's start on. A page that can't be read becomes zeros and is counted,
 * unless it is a guard page that madvise(2) put there, which has nothing to be read.
 *
 * @is_lenient  nothing is counted but what is lost because the process is gone
 *
 * Returns how many bytes were really read: 0 means that there are nothing but zeros.
 */
size_t live_memory_read(const struct live_memory *memory, uint64_t address, void *ret, size_t size,
                        bool is_lenient);

/* True once the process has lost its memory: it was killed. */
bool live_memory_is_gone(int mem_fd);
