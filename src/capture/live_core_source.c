#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>

#include "capture/live_pages.h"
#include "capture/live_tables.h"
#include "util/io.h"

/* Of one piece with data: large enough to make system calls cheap. */
#define PIECE_BYTES (1u << 20)

struct live_source {
    struct core_source base;
    struct live_process *process;
    const struct live_layout *layout;
    uint64_t at; /* in the core */

    size_t next_header;
    const struct live_segment *segment; /* that is being read, NULL before the first */
    uint64_t segment_at;                /* address of its next byte */
    uint64_t segment_end;               /* of its bytes in the core */

    struct live_pages pages;
    struct live_range touched; /* of a segment of which only those pages are read */
    bool is_gone;              /* the process was killed: the rest is zeros */

    _Alignas(16) char piece[PIECE_BYTES];
};

static int give(struct live_source *source, const void *data, uint64_t size, struct core_run *ret)
{
    *ret = (struct core_run){.data = data, .size = size};
    source->at += size;
    return 1;
}

static int next_notes(struct live_source *source, struct core_run *ret)
{
    const struct live_tables *tables = source->process->tables;
    uint64_t done = source->at - source->layout->notes_offset;
    uint64_t size = source->layout->notes_size - done;
    ssize_t n;

    if (size > PIECE_BYTES)
        size = PIECE_BYTES;
    n = pread_full(tables->notes_fd, source->piece, (size_t)size, done);
    if (n < 0)
        return (int)n;
    return n == 0 ? -ENODATA : give(source, source->piece, (uint64_t)n, ret);
}

/* Gives zeros up to an address of the segment. */
static int give_zeros(struct live_source *source, uint64_t end, struct core_run *ret)
{
    const uint64_t size = end - source->segment_at;

    source->segment_at = end;
    return give(source, NULL, size, ret);
}

/* Gives memory up to an address of the segment, or as much of it as a piece holds. */
static int give_memory(struct live_source *source, uint64_t end, struct core_run *ret)
{
    const struct live_memory memory = live_memory_of(source->process, source->segment->is_copied);
    uint64_t size = end - source->segment_at;
    size_t read;

    if (size > PIECE_BYTES)
        size = PIECE_BYTES;
    read = live_memory_read(&memory, source->segment_at, source->piece, (size_t)size,
                            source->segment->reading == LIVE_LENIENT);
    source->segment_at += size;
    return give(source, read > 0 ? source->piece : NULL, size, ret);
}

/* Looks for the next pages that are there; behind the last they end where the segment does. */
static int look_for_touched(struct live_source *source)
{
    const int mem_fd = source->process->mem_fd;
    int r = live_pages_next(&source->pages, &source->touched);

    if (r == 0)
        source->touched = (struct live_range){source->segment_end, source->segment_end};
    /* A process without memory has no pages either: that mustn't pass for untouched memory. */
    if (source->pages.next <= 1 && live_memory_is_gone(mem_fd))
        source->is_gone = true;
    return r < 0 ? r : 0;
}

static int next_touched(struct live_source *source, struct core_run *ret)
{
    int r = 0;

    if (source->segment_at >= source->touched.end)
        r = look_for_touched(source);
    if (r < 0) /* what isn't known to be there isn't read */
        source->touched = (struct live_range){source->segment_end, source->segment_end};
    if (r < 0 || source->is_gone)
        source->process->unreadable += source->segment_end - source->segment_at;
    if (source->is_gone)
        return give_zeros(source, source->segment_end, ret);
    if (source->segment_at < source->touched.start)
        return give_zeros(source, source->touched.start, ret);
    return give_memory(source, source->touched.end, ret);
}

/* Turns to the next segment that has bytes in the core. Returns false where there is none. */
static bool begin_segment(struct live_source *source)
{
    const struct live_segment *end = source->layout->segments + source->layout->count;
    const struct live_segment *segment =
        source->segment ? source->segment + 1 : source->layout->segments;

    while (segment < end && segment->file_size == 0)
        segment++;
    if (segment == end)
        return false;
    source->segment = segment;
    source->segment_at = segment->start;
    source->segment_end = segment->start + segment->file_size;
    source->touched = (struct live_range){segment->start, segment->start};
    source->pages.is_copied = segment->is_copied;
    source->pages.is_listed = segment->is_listed;
    live_pages_begin(&source->pages, segment->start, source->segment_end);
    return true;
}

static int next_memory(struct live_source *source, struct core_run *ret)
{
    if (source->segment_at == source->segment_end && !begin_segment(source))
        return 0;
    if (source->segment->reading == LIVE_TOUCHED)
        return next_touched(source, ret);
    return give_memory(source, source->segment_end, ret);
}

static int next(struct core_source *base, struct core_run *ret)
{
    struct live_source *source = (struct live_source *)base;
    const struct live_layout *layout = source->layout;
    size_t size;
    int r;

    if (source->at < layout->notes_offset) {
        size =
            live_layout_headers(layout, &source->next_header, source->piece, sizeof(source->piece));
        return give(source, source->piece, size, ret);
    }
    if (source->at < layout->notes_offset + layout->notes_size)
        return next_notes(source, ret);
    if (source->at < layout->data_offset)
        return give(source, NULL, layout->data_offset - source->at, ret);
    r = next_memory(source, ret);
    if (r != 0 || source->at == layout->size)
        return r;
    size = live_layout_trailer(layout, source->piece);
    return give(source, source->piece, size, ret);
}

static void free_source(struct core_source *base)
{
    free(base);
}

int live_source_open(struct live_process *process, const struct live_layout *layout,
                     struct core_source **ret)
{
    struct live_source *source = calloc(1, sizeof(*source));

    if (!source)
        return -ENOMEM;
    source->base = (struct core_source){.next = next, .close = free_source, .size = layout->size};
    source->process = process;
    source->layout = layout;
    source->pages = live_pages_of(process->tables);
    *ret = &source->base;
    return 0;
}

int live_core_source(struct live_process *process, struct core_source **ret)
{
    int r = live_tables_lay_out(process);

    if (r < 0)
        return r;
    process->unreadable = 0;
    return live_source_open(process, &process->tables->layout, ret);
}
