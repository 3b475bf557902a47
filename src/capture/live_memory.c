#include "capture/live_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "util/io.h"

#define PAGEMAP_GUARD (1ull << 58) /* admin-guide/mm/pagemap.rst, Linux 6.15 */

uint64_t live_page_size(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* pread(2) knows no offsets that are negative, as the vsyscall page's is. */
static ssize_t read_at(int mem_fd, uint64_t address, void *ret, size_t size)
{
    ssize_t n;

    if (address > INT64_MAX)
        return -EIO;
    do
        n = pread(mem_fd, ret, size, (off_t)address);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static bool is_guard(int pagemap_fd, uint64_t address, uint64_t page_size)
{
    uint64_t entry;

    return pagemap_fd >= 0 &&
           pread_full(pagemap_fd, &entry, sizeof(entry), address / page_size * sizeof(entry)) ==
               sizeof(entry) &&
           (entry & PAGEMAP_GUARD);
}

size_t live_memory_read(const struct live_memory *memory, uint64_t address, void *ret, size_t size,
                        bool is_lenient)
{
    const uint64_t page_size = live_page_size();
    size_t done = 0, read = 0;

    while (done < size) {
        char *to = (char *)ret + done;
        size_t part = size - done;
        ssize_t n = read_at(memory->mem_fd, address + done, to, part);

        if (n > 0) {
            done += (size_t)n;
            read += (size_t)n;
            continue;
        }
        /* 0: the process is gone, and so is all the rest. Else it is this page that fails. */
        if (n < 0 && part > page_size - (address + done) % page_size)
            part = (size_t)(page_size - (address + done) % page_size);
        memset(to, 0, part);
        if (n == 0 || (!is_lenient && !is_guard(memory->pagemap_fd, address + done, page_size)))
            *memory->unreadable += part;
        done += part;
    }
    return read;
}

/* mem_rw() of fs/proc/base.c: nothing is read of an address space without users, while what isn't
 * mapped is an error. */
bool live_memory_is_gone(int mem_fd)
{
    char byte;

    return read_at(mem_fd, 0, &byte, sizeof(byte)) == 0;
}
