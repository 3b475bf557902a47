#include "capture/process_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "capture/live_dump_rules.h"
#include "capture/live_memory.h"
#include "capture/live_pages.h"
#include "util/cleanup.h"

/* Addresses of user space end below, on the machines that we know. */
#define FILE_BYTES (1ull << 56)

/* Of the file, what is mapped at a time: to read into it spares a copy. */
#define WINDOW_BYTES (64ull << 20)

/* What stays mapped from the preparation on: mapping costs more than copying smaller parts does,
 * and a process has 65530 mappings at most (vm.max_map_count). */
#define LEAST_WINDOW_BYTES (64u << 10)
#define MOST_WINDOWS 16384

struct copy_window {
    struct live_range range;
    char *at;
};

static int add_shared(struct process_copy *copy, struct live_range range)
{
    if (copy->n_shared == copy->shared_room) {
        const size_t room = copy->shared_room ? copy->shared_room * 2 : 64;
        struct live_range *larger = reallocarray(copy->shared, room, sizeof(*larger));

        if (!larger)
            return -ENOMEM;
        copy->shared = larger;
        copy->shared_room = room;
    }
    copy->shared[copy->n_shared++] = range;
    return 0;
}

/* Lists what is there of shared memory of which only such pages are read (live_dump_rules.h). */
static int list_shared(struct process_copy *copy, int pagemap_fd)
{
    struct live_pages pages = {.fd = pagemap_fd};
    struct live_range range;
    int r = 0;

    for (size_t i = 0; r == 0 && i < copy->mappings.count; i++) {
        const struct live_mapping *mapping = &copy->mappings.entries[i];

        if (!mapping->is_shared || mapping->dump_size == 0 || mapping->reading != LIVE_TOUCHED)
            continue;
        live_pages_begin(&pages, mapping->start, mapping->start + mapping->dump_size);
        while (r == 0 && (r = live_pages_next(&pages, &range)) > 0)
            r = add_shared(copy, range);
    }
    return r;
}

/* Drops what isn't wanted; the rest keeps its order. */
static void choose(struct process_copy *copy)
{
    struct live_mappings *mappings = &copy->mappings;
    size_t count = 0;

    for (size_t i = 0; i < mappings->count; i++) {
        struct live_mapping *mapping = &mappings->entries[i];
        const bool is_lost = mapping->is_dont_fork || mapping->is_wiped_on_fork ||
                             (mapping->is_huge && !mapping->is_shared);

        if (!copy->is_whole && (!is_lost || mapping->dump_size == 0))
            continue;
        mapping->is_copied = true;
        mappings->entries[count++] = *mapping;
    }
    mappings->count = count;
}

void process_copy_init(struct process_copy *copy)
{
    *copy = (struct process_copy){.fd = -1};
}

int process_copy_list(int smaps_fd, int mem_fd, int pagemap_fd, unsigned filter, bool is_whole,
                      struct process_copy *copy)
{
    uint64_t unreadable = 0;
    const struct live_memory memory = {mem_fd, -1, &unreadable};
    int r;

    live_mappings_free(&copy->mappings);
    copy->n_shared = 0;
    copy->is_whole = is_whole;
    r = live_mappings_read(smaps_fd, &copy->mappings);
    if (r < 0)
        return r;
    live_dump_rules_apply(&copy->mappings, filter, &memory);
    r = is_whole ? 0 : list_shared(copy, pagemap_fd);
    if (r < 0)
        return r;
    choose(copy);
    if (copy->fd >= 0)
        return 0;
    copy->fd = memfd_create("memory", MFD_CLOEXEC);
    return copy->fd < 0 || ftruncate(copy->fd, FILE_BYTES) < 0 ? -errno : 0;
}

uint64_t process_copy_size(const struct process_copy *copy, int pagemap_fd)
{
    struct live_pages pages = {.fd = pagemap_fd};
    struct live_range range;
    uint64_t size = 0;

    for (size_t i = 0; i < copy->mappings.count; i++) {
        const struct live_mapping *mapping = &copy->mappings.entries[i];

        if (mapping->reading != LIVE_TOUCHED) {
            size += mapping->dump_size;
            continue;
        }
        live_pages_begin(&pages, mapping->start, mapping->start + mapping->dump_size);
        while (live_pages_next(&pages, &range) > 0)
            size += range.end - range.start;
    }
    return size;
}

/* What is done to each range of pages that are to be copied. Returns 0 or -errno. */
typedef int range_action(struct process_copy *copy, const struct live_memory *memory, pid_t pid,
                         struct live_range range, bool is_lenient);

/* Maps a part of the file, with memory for all of it. Returns NULL where there is none. */
static char *map_file(const struct process_copy *copy, struct live_range range)
{
    char *at = mmap(NULL, range.end - range.start, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, copy->fd, (off_t)range.start);

    return at == MAP_FAILED ? NULL : at;
}

static struct live_range first_part(struct live_range range)
{
    if (range.end - range.start > WINDOW_BYTES)
        range.end = range.start + WINDOW_BYTES;
    return range;
}

static int add_window(struct process_copy *copy, struct live_range range, char *at)
{
    if (copy->n_windows == copy->window_room) {
        const size_t room = copy->window_room ? copy->window_room * 2 : 64;
        struct copy_window *larger = reallocarray(copy->windows, room, sizeof(*larger));

        if (!larger)
            return -ENOMEM;
        copy->windows = larger;
        copy->window_room = room;
    }
    copy->windows[copy->n_windows++] = (struct copy_window){range, at};
    return 0;
}

static int prepare_range(struct process_copy *copy, const struct live_memory *memory, pid_t pid,
                         struct live_range range, bool is_lenient)
{
    (void)memory;
    (void)pid;
    (void)is_lenient;
    while (range.start < range.end) {
        const struct live_range part = first_part(range);
        const size_t size = (size_t)(part.end - part.start);
        char *at = map_file(copy, part);

        if (!at)
            return -errno;
        if (size < LEAST_WINDOW_BYTES || copy->n_windows >= MOST_WINDOWS ||
            add_window(copy, part, at) < 0)
            (void)munmap(at, size);
        copy->prepared += size;
        range.start = part.end;
    }
    return 0;
}

/* The window that an address is in, or else the first one behind it; NULL where there is none. */
static const struct copy_window *find_window(const struct process_copy *copy, uint64_t address)
{
    size_t low = 0, high = copy->n_windows;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (copy->windows[middle].range.end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < copy->n_windows ? &copy->windows[low] : NULL;
}

/* process_vm_readv(2) is quicker, but stops at what a debugger may read and it may not. */
static void read_memory(const struct live_memory *memory, pid_t pid, struct live_range range,
                        char *at, bool is_lenient)
{
    const size_t size = (size_t)(range.end - range.start);
    const struct iovec to = {at, size}, from = {(void *)(uintptr_t)range.start, size};
    ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);
    const size_t done = n > 0 ? (size_t)n / live_page_size() * live_page_size() : 0;

    if (done < size)
        (void)live_memory_read(memory, range.start + done, at + done, size - done, is_lenient);
}

static int copy_range(struct process_copy *copy, const struct live_memory *memory, pid_t pid,
                      struct live_range range, bool is_lenient)
{
    while (range.start < range.end) {
        const struct copy_window *window = find_window(copy, range.start);
        struct live_range part = first_part(range);
        const bool is_mapped = window && window->range.start <= range.start;
        char *at;

        if (is_mapped && window->range.end < part.end)
            part.end = window->range.end;
        else if (!is_mapped && window && window->range.start < part.end)
            part.end = window->range.start;
        at = is_mapped ? window->at + (part.start - window->range.start) : map_file(copy, part);
        if (!at)
            return -errno;
        read_memory(memory, pid, part, at, is_lenient);
        if (!is_mapped)
            (void)munmap(at, (size_t)(part.end - part.start));
        range.start = part.end;
    }
    return 0;
}

static int walk_mapping(struct process_copy *copy, const struct live_memory *memory, pid_t pid,
                        const struct live_mapping *mapping, struct live_pages *pages,
                        range_action *act)
{
    const struct live_range all = {mapping->start, mapping->start + mapping->dump_size};
    struct live_range range;
    int r;

    if (all.end > FILE_BYTES) /* [vsyscall], which nobody else can read */
        return 0;
    if (mapping->reading != LIVE_TOUCHED)
        return act(copy, memory, pid, all, mapping->reading == LIVE_LENIENT);
    live_pages_begin(pages, all.start, all.end);
    while ((r = live_pages_next(pages, &range)) > 0) {
        r = act(copy, memory, pid, range, false);
        if (r < 0)
            break;
    }
    return r;
}

static int walk(struct process_copy *copy, const struct live_memory *memory, pid_t pid,
                int pagemap_fd, range_action *act)
{
    struct live_pages pages = {.fd = pagemap_fd};
    int r = 0;

    for (size_t i = 0; r == 0 && i < copy->mappings.count; i++)
        r = walk_mapping(copy, memory, pid, &copy->mappings.entries[i], &pages, act);
    return r;
}

int process_copy_prepare(struct process_copy *copy, int pagemap_fd)
{
    return walk(copy, NULL, 0, pagemap_fd, prepare_range);
}

int process_copy_take(struct process_copy *copy, pid_t pid, int mem_fd, int pagemap_fd)
{
    const struct live_memory memory = {mem_fd, pagemap_fd, &copy->unreadable};
    int r = walk(copy, &memory, pid, pagemap_fd, copy_range);

    return r == 0 && live_memory_is_gone(mem_fd) ? -ESRCH : r;
}

void process_copy_free(struct process_copy *copy)
{
    close_fd(copy->fd);
    live_mappings_free(&copy->mappings);
    free(copy->shared);
    for (size_t i = 0; i < copy->n_windows; i++)
        (void)munmap(copy->windows[i].at,
                     (size_t)(copy->windows[i].range.end - copy->windows[i].range.start));
    free(copy->windows);
    process_copy_init(copy);
}
