/* Artifacts on their way into the spool. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/spool_state.h"
#include "util/cleanup.h"
#include "util/io.h"

struct spool_sink {
    struct sink sink;
    struct spool *spool;
    file_name name, part;
    int fd;
    uint64_t size; /* that the file has, but for what a failed write left behind it */
    int error;     /* of the first write that failed: such a file is never whole */
    bool committed, is_kept;
};

/* A used-up quota is a full disk to whoever has another place to go. */
static int quota_as_space(int error)
{
    return error == -EDQUOT ? -ENOSPC : error;
}

static int spool_sink_write(struct sink *base, const void *data, size_t size)
{
    struct spool_sink *sink = (struct spool_sink *)base;

    if (sink->error == 0)
        sink->error = quota_as_space(write_all(sink->fd, data, size));
    if (sink->error == 0)
        sink->size += size;
    return sink->error;
}

int spool_sink_undo(struct sink *base)
{
    struct spool_sink *sink = (struct spool_sink *)base;

    if (sink->error != -ENOSPC)
        return sink->error;
    if (ftruncate(sink->fd, (off_t)sink->size) < 0 ||
        lseek(sink->fd, (off_t)sink->size, SEEK_SET) < 0)
        return -errno;
    sink->error = 0;
    return 0;
}

void spool_sink_keep(struct sink *base)
{
    ((struct spool_sink *)base)->is_kept = true;
}

/* Renames onto a free name, or onto what was committed there before. */
static int publish(const struct spool_sink *sink)
{
    const struct written *before = spool_find_written(sink->spool, sink->name);
    int dir_fd = sink->spool->dir_fd;
    struct stat found;

    if (!means_fd(dir_fd, sink->part, sink->fd))
        return -ESTALE;
    if (before && means_file(dir_fd, sink->name, before->device, before->inode))
        return renameat(dir_fd, sink->part, dir_fd, sink->name) < 0 ? -errno : 0;

    if (renameat2(dir_fd, sink->part, dir_fd, sink->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* NFS and many of FUSE can't do that in one step. A name planted between these two is replaced,
     * and even then not followed. */
    if (fstatat(dir_fd, sink->name, &found, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(dir_fd, sink->part, dir_fd, sink->name) < 0 ? -errno : 0;
}

/* Before what was sent is replaced: else a sweep would take the new file for sent. */
static int note_anew(struct spool *spool, const char *name)
{
    const int kind = spool_held_kind(spool, name);

    return kind < 0 ? 0 : journal_note_anew(spool->journal, (enum artifact_kind)kind);
}

static int spool_sink_commit(struct sink *base)
{
    struct spool_sink *sink = (struct spool_sink *)base;
    struct spool *spool = sink->spool;
    struct stat file;
    int r = sink->error;

    if (r == 0)
        r = quota_as_space(flush_file(sink->fd)); /* network file systems tell only now */
    if (r == 0 && fstat(sink->fd, &file) < 0)
        r = -errno;
    if (r == 0)
        r = note_anew(spool, sink->name);
    if (r == 0)
        r = publish(sink);
    if (r < 0)
        return r;
    sink->committed = true;
    spool_note_written(spool, sink->name, &file);
    return flush_file(spool->dir_fd);
}

static void spool_sink_close(struct sink *base)
{
    struct spool_sink *sink = (struct spool_sink *)base;

    if (!sink->committed && !sink->is_kept)
        remove_file(sink->spool->dir_fd, sink->part, sink->fd);
    close_fd(sink->fd);
    free(sink);
}

static const struct sink_ops spool_sink_ops = {
    .write = spool_sink_write,
    .commit = spool_sink_commit,
    .close = spool_sink_close,
};

static int open_part(struct spool *spool, const struct spool_sink *sink)
{
    const int kind = spool_held_kind(spool, sink->name);

    if (kind == ARTIFACT_CRASH_JSON && spool->claim_fd >= 0)
        return take_fd(&spool->claim_fd);
    if (kind >= 0 && spool->is_adopted)
        remove_own_file(spool->dir_fd, sink->part, spool->uid);
    return create_file(spool->dir_fd, sink->part, 0);
}

int spool_sink(struct spool *spool, const char *name, struct sink **ret)
{
    _cleanup_free_ struct spool_sink *sink = calloc(1, sizeof(*sink));
    int r;

    if (!sink)
        return -ENOMEM;
    r = make_name("", name, "", sink->name);
    if (r < 0)
        return r;
    make_part_name(sink->name, sink->part);
    sink->fd = open_part(spool, sink);
    if (sink->fd < 0)
        return sink->fd;

    sink->spool = spool;
    r = sink_init(&sink->sink, &spool_sink_ops);
    if (r < 0) {
        spool_sink_close(&take_ptr(sink)->sink);
        return r;
    }
    *ret = &take_ptr(sink)->sink;
    return 0;
}

int spool_sink_reader(struct sink *sink)
{
    const int fd = fcntl(((struct spool_sink *)sink)->fd, F_DUPFD_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}
