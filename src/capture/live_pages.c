#include "capture/live_pages.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "capture/live_memory.h"
#include "util/io.h"

/*
 * Documentation/admin-guide/mm/pagemap.rst of the kernel: linux/fs.h has this from Linux 6.7 on, in
 * names of its own.
 */
struct scan_argument {
    uint64_t size;
    uint64_t flags;
    uint64_t start, end;
    uint64_t walk_end; /* is told where the walk ended */
    uint64_t vector, vector_count;
    uint64_t max_pages;
    uint64_t inverted, all_of, any_of; /* categories of pages that are wanted */
    uint64_t told;                     /* categories that tell ranges apart */
};

struct scan_region {
    uint64_t start, end;
    uint64_t categories;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_argument)
#define SCAN_PRESENT (1u << 3)
#define SCAN_SWAPPED (1u << 4)
#define SCAN_ZERO_PAGE (1u << 5) /* the one that all memory shares that was only read */

#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PRESENT (1ull << 63)

#define MOST_FOUND (sizeof(((struct live_pages *)0)->found) / sizeof(struct live_range))

void live_pages_begin(struct live_pages *pages, uint64_t start, uint64_t end)
{
    pages->at = start;
    pages->end = end;
    pages->next = pages->count = 0;
}

static void add(struct live_pages *pages, uint64_t start, uint64_t end)
{
    struct live_range *last = pages->count ? &pages->found[pages->count - 1] : NULL;

    if (last && last->end == start)
        last->end = end;
    else
        pages->found[pages->count++] = (struct live_range){start, end};
}

/* Returns 0, or -ENOTTY where the kernel has no such call. */
static int look_by_ioctl(struct live_pages *pages)
{
    struct scan_region regions[MOST_FOUND];
    struct scan_argument argument = {
        .size = sizeof(argument),
        .start = pages->at,
        .end = pages->end,
        .vector = (uint64_t)(uintptr_t)regions,
        .vector_count = MOST_FOUND,
        .inverted = SCAN_ZERO_PAGE,
        .all_of = SCAN_ZERO_PAGE,
        .any_of = SCAN_PRESENT | SCAN_SWAPPED,
        .told = SCAN_PRESENT | SCAN_SWAPPED,
    };
    int n = ioctl(pages->fd, SCAN_IOCTL, &argument);

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++)
        add(pages, regions[i].start, regions[i].end);
    /* Only a full vector ends the walk before its end. */
    pages->at =
        (size_t)n < MOST_FOUND || argument.walk_end <= pages->at ? pages->end : argument.walk_end;
    return 0;
}

/* One word a page. */
static int look_by_reading(struct live_pages *pages)
{
    const uint64_t page_size = live_page_size();
    uint64_t words[4096];

    while (pages->at < pages->end && pages->count < MOST_FOUND) {
        size_t wanted = (size_t)((pages->end - pages->at) / page_size);
        ssize_t n;

        if (wanted > sizeof(words) / sizeof(words[0]))
            wanted = sizeof(words) / sizeof(words[0]);
        n = pread_full(pages->fd, words, wanted * sizeof(words[0]),
                       pages->at / page_size * sizeof(words[0]));
        if (n < 0)
            return (int)n;
        if (n == 0)
            pages->at = pages->end;
        for (size_t i = 0; i < (size_t)n / sizeof(words[0]) && pages->count < MOST_FOUND; i++) {
            if (words[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))
                add(pages, pages->at, pages->at + page_size);
            pages->at += page_size;
        }
    }
    return 0;
}

/* A copy has holes where no pages were. */
static int look_in_copy(struct live_pages *pages)
{
    while (pages->at < pages->end && pages->count < MOST_FOUND) {
        off_t start = lseek(pages->copy_fd, (off_t)pages->at, SEEK_DATA);
        off_t end = start < 0 ? start : lseek(pages->copy_fd, start, SEEK_HOLE);

        if (end < 0 && errno != ENXIO)
            return -errno;
        if (end < 0 || (uint64_t)start >= pages->end) {
            pages->at = pages->end;
            break;
        }
        pages->at = (uint64_t)end < pages->end ? (uint64_t)end : pages->end;
        add(pages, (uint64_t)start, pages->at);
    }
    return 0;
}

static void look_in_list(struct live_pages *pages)
{
    for (size_t i = 0; i < pages->n_listed && pages->count < MOST_FOUND; i++) {
        struct live_range range = pages->listed[i];

        if (range.end <= pages->at)
            continue;
        if (range.start >= pages->end)
            break;
        if (range.start < pages->at)
            range.start = pages->at;
        pages->at = range.end < pages->end ? range.end : pages->end;
        add(pages, range.start, pages->at);
    }
    if (pages->count < MOST_FOUND)
        pages->at = pages->end;
}

int live_pages_next(struct live_pages *pages, struct live_range *ret)
{
    int r = 0;

    while (pages->next == pages->count) {
        if (pages->at >= pages->end)
            return 0;
        pages->next = pages->count = 0;
        if (pages->is_copied || pages->is_listed) {
            r = 0;
            if (pages->is_copied)
                r = look_in_copy(pages);
            else
                look_in_list(pages);
            if (r < 0)
                return r;
            continue;
        }
        if (pages->fd < 0) {
            add(pages, pages->at, pages->end);
            pages->at = pages->end;
            break;
        }
        if (!pages->has_no_ioctl) {
            r = look_by_ioctl(pages);
            pages->has_no_ioctl = r < 0;
        }
        if (pages->has_no_ioctl)
            r = look_by_reading(pages);
        if (r < 0)
            return r;
    }
    *ret = pages->found[pages->next++];
    return 1;
}
