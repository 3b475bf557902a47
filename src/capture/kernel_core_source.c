#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "capture/kernel_core.h"
#include "util/io.h"

/* Of one piece with data: large enough to make system calls cheap. */
#define PIECE_BYTES (1u << 20)

struct file_source {
    struct core_source base;
    int fd; /* the kernel_core's */
    uint64_t at;
    uint64_t data_end; /* up to here there is data; at or before @at: not looked yet */
    char piece[PIECE_BYTES];
};

/*
 * Sets the end of the data that begins at @at, or tells the hole there.
 *
 * Returns 1 for a hole, 0 for data, or -ENODATA where someone cut the file meanwhile.
 */
static int look_ahead(struct file_source *source, struct core_run *ret)
{
    const uint64_t size = source->base.size;
    off_t data = lseek(source->fd, (off_t)source->at, SEEK_DATA);
    struct stat st;
    off_t end;

    if (data < 0 && errno == ENXIO) { /* nothing but a hole up to the end, or that is nearer now */
        if (fstat(source->fd, &st) < 0 || (uint64_t)st.st_size < size)
            return -ENODATA;
        data = (off_t)size;
    }
    if (data < 0 || (uint64_t)data == source->at) {
        end = data < 0 ? -1 : lseek(source->fd, data, SEEK_HOLE);
        /* A file system that can't tell has data only. */
        source->data_end = end < 0 || (uint64_t)end > size ? size : (uint64_t)end;
        return 0;
    }
    *ret = (struct core_run){
        .size = ((uint64_t)data < size ? (uint64_t)data : size) - source->at,
    };
    return 1;
}

static int next(struct core_source *base, struct core_run *ret)
{
    struct file_source *source = (struct file_source *)base;
    uint64_t size;
    ssize_t n;
    int r = 0;

    if (source->at == base->size)
        return 0;
    if (source->data_end <= source->at)
        r = look_ahead(source, ret);
    if (r < 0)
        return r;
    if (r > 0) {
        source->at += ret->size;
        return 1;
    }
    size = source->data_end - source->at;
    if (size > sizeof(source->piece))
        size = sizeof(source->piece);
    n = pread_full(source->fd, source->piece, (size_t)size, source->at);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return -ENODATA; /* someone cut the file meanwhile */
    *ret = (struct core_run){.data = source->piece, .size = (uint64_t)n};
    source->at += (uint64_t)n;
    return 1;
}

static void free_source(struct core_source *base)
{
    free(base);
}

int kernel_core_source(const struct kernel_core *core, struct core_source **ret)
{
    struct file_source *source = malloc(sizeof(*source));

    if (!source)
        return -ENOMEM;
    source->base =
        (struct core_source){.next = next, .close = free_source, .size = core->info->file_size};
    source->fd = core->fd;
    source->at = source->data_end = 0;
    *ret = &source->base;
    return 0;
}
