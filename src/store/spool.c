#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle/name.h"
#include "util/cleanup.h"
#include "util/io.h"

#define PART_SUFFIX ".part"

typedef char file_name[NAME_MAX + 1];

/* A file as this process committed it. */
struct written {
    file_name name;
    dev_t device;
    ino_t inode;
};

struct spool {
    int dir_fd;
    file_name claimed;                      /* ID.crash.json, "" where no id is claimed */
    int claim_fd;                           /* its .part, until a sink takes it over */
    struct written written[ARTIFACT_KINDS]; /* the claimed bundle's */
    size_t n_written;
};

struct spool_sink {
    struct sink sink;
    struct spool *spool;
    file_name name, part;
    int fd;
    int error; /* of the first write that failed: such a file is never whole */
    bool committed;
};

/* Joins a name's pieces; refuses what is not a plain file name with room for ".part". */
static int make_name(const char *stem, const char *suffix, file_name ret)
{
    int n = snprintf(ret, sizeof(file_name), "%s%s", stem, suffix);

    if (n < 0 || (size_t)n + strlen(PART_SUFFIX) > NAME_MAX)
        return -ENAMETOOLONG;
    if (ret[0] == '\0' || strchr(ret, '/') || strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
        return -EINVAL;
    return 0;
}

static void part_of(const char *name, file_name ret)
{
    snprintf(ret, sizeof(file_name), "%.*s%s", NAME_MAX - (int)strlen(PART_SUFFIX), name,
             PART_SUFFIX);
}

/* Does the name still mean this very file? In a world-writable directory others may rename. */
static bool means_file(int dir_fd, const char *name, dev_t device, ino_t inode)
{
    struct stat found;

    return fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_dev == device &&
           found.st_ino == inode;
}

static bool means_fd(int dir_fd, const char *name, int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 && means_file(dir_fd, name, file.st_dev, file.st_ino);
}

/* What this process committed under a name before, or NULL. */
static struct written *find_written(struct spool *spool, const char *name)
{
    for (size_t i = 0; i < spool->n_written; i++)
        if (strcmp(spool->written[i].name, name) == 0)
            return &spool->written[i];
    return NULL;
}

/* Remembers a commit. A bundle has no more names than there are kinds of artifacts. */
static int note_written(struct spool *spool, const char *name, int fd)
{
    struct written *written = find_written(spool, name);
    struct stat file;

    if (fstat(fd, &file) < 0)
        return -errno;
    if (!written && spool->n_written < ARTIFACT_KINDS) {
        written = &spool->written[spool->n_written++];
        memcpy(written->name, name, sizeof(written->name));
    }
    if (written) {
        written->device = file.st_dev;
        written->inode = file.st_ino;
    }
    return 0;
}

/* O_EXCL never follows a symbolic link nor opens what is there: whatever was planted is refused. */
static int create_part(int dir_fd, const char *part)
{
    int fd = openat(dir_fd, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : fd;
}

static void remove_part(int dir_fd, const char *part, int fd)
{
    if (means_fd(dir_fd, part, fd))
        unlinkat(dir_fd, part, 0);
}

/* File systems without fsync(2) (some of FUSE's) answer EINVAL; there is nothing to wait for. */
static int flush(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int open_directory(const char *path)
{
    struct stat found;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    if (errno == ENOTDIR && lstat(path, &found) == 0 && S_ISLNK(found.st_mode))
        return -ELOOP;
    return -errno;
}

/* O_NOFOLLOW looks at the last component only, and a slash behind it would make that one empty. */
static int make_plain(const char *path, char ret[PATH_MAX])
{
    size_t length = strlen(path);

    if (length >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(ret, path, length + 1);
    while (length > 1 && ret[length - 1] == '/')
        ret[--length] = '\0';
    return 0;
}

int spool_open(const char *path, struct spool **ret)
{
    _cleanup_close_ int fd = -1;
    char plain[PATH_MAX];
    struct spool *spool;
    int r = make_plain(path, plain);

    if (r < 0)
        return r;
    fd = open_directory(plain);
    if (fd == -ENOENT) {
        if (mkdir(plain, 0700) < 0 && errno != EEXIST)
            return -errno;
        fd = open_directory(plain);
    }
    if (fd < 0)
        return fd;
    spool = calloc(1, sizeof(*spool));
    if (!spool)
        return -ENOMEM;
    spool->dir_fd = take_fd(&fd);
    spool->claim_fd = -1;
    *ret = spool;
    return 0;
}

/* Returns 0, or -EEXIST where anything of the bundle is there besides the file that is ours. */
static int look_for_bundle(const struct spool *spool, const char *id, int our_fd)
{
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        file_name names[2];
        int r = make_name(id, artifact_suffixes[kind], names[0]);

        if (r < 0)
            return r;
        part_of(names[0], names[1]);
        for (size_t i = 0; i < 2; i++) {
            struct stat found;

            if (fstatat(spool->dir_fd, names[i], &found, AT_SYMLINK_NOFOLLOW) < 0) {
                if (errno != ENOENT)
                    return -errno;
            } else if (our_fd < 0 || !means_fd(spool->dir_fd, names[i], our_fd)) {
                return -EEXIST;
            }
        }
    }
    return 0;
}

int spool_claim(struct spool *spool, const char *id)
{
    _cleanup_close_ int fd = -1;
    file_name name, part;
    int r;

    if (spool->claimed[0])
        return -EBUSY;
    r = make_name(id, artifact_suffixes[ARTIFACT_CRASH_JSON], name);
    if (r < 0)
        return r;
    part_of(name, part);

    /* The first look keeps us from even touching a bundle that someone is writing; the second one
     * sees who committed between that look and our claim. */
    r = look_for_bundle(spool, id, -1);
    if (r < 0)
        return r;
    fd = create_part(spool->dir_fd, part);
    if (fd < 0)
        return fd;
    r = look_for_bundle(spool, id, fd);
    if (r < 0) {
        remove_part(spool->dir_fd, part, fd);
        return r;
    }

    memcpy(spool->claimed, name, sizeof(name));
    spool->claim_fd = take_fd(&fd);
    return 0;
}

static void drop_claim(struct spool *spool)
{
    file_name part;

    if (spool->claim_fd >= 0) {
        part_of(spool->claimed, part);
        remove_part(spool->dir_fd, part, spool->claim_fd);
        close_fd(take_fd(&spool->claim_fd));
    }
    spool->claimed[0] = '\0';
    spool->n_written = 0;
}

void spool_release(struct spool *spool, const char *id)
{
    file_name name;

    if (make_name(id, artifact_suffixes[ARTIFACT_CRASH_JSON], name) == 0 &&
        strcmp(name, spool->claimed) == 0)
        drop_claim(spool);
}

bool spool_abandon(struct spool *spool, const char *id)
{
    struct stat found;
    bool is_whole;

    is_whole = spool->claimed[0] &&
               fstatat(spool->dir_fd, spool->claimed, &found, AT_SYMLINK_NOFOLLOW) == 0;
    for (int kind = 0; spool->claimed[0] && kind < ARTIFACT_KINDS; kind++) {
        file_name name, part;

        if (make_name(id, artifact_suffixes[kind], name) < 0)
            continue;
        part_of(name, part);
        (void)unlinkat(spool->dir_fd, part, 0);
        if (!is_whole)
            (void)unlinkat(spool->dir_fd, name, 0);
    }
    return is_whole;
}

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
    return sink->error;
}

/* Renames onto a free name, or onto what this process itself committed there before. */
static int publish(const struct spool_sink *sink)
{
    const struct written *before = find_written(sink->spool, sink->name);
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

static int spool_sink_commit(struct sink *base)
{
    struct spool_sink *sink = (struct spool_sink *)base;
    struct spool *spool = sink->spool;
    int r = sink->error;

    if (r == 0)
        r = quota_as_space(flush(sink->fd)); /* network file systems tell only now */
    if (r == 0)
        r = publish(sink);
    if (r < 0)
        return r;
    sink->committed = true;
    r = note_written(spool, sink->name, sink->fd);
    return r < 0 ? r : flush(spool->dir_fd);
}

static void spool_sink_close(struct sink *base)
{
    struct spool_sink *sink = (struct spool_sink *)base;

    if (!sink->committed)
        remove_part(sink->spool->dir_fd, sink->part, sink->fd);
    close_fd(sink->fd);
    free(sink);
}

static const struct sink_ops spool_sink_ops = {
    .write = spool_sink_write,
    .commit = spool_sink_commit,
    .close = spool_sink_close,
};

int spool_sink(struct spool *spool, const char *name, struct sink **ret)
{
    _cleanup_free_ struct spool_sink *sink = calloc(1, sizeof(*sink));
    int r;

    if (!sink)
        return -ENOMEM;
    r = make_name(name, "", sink->name);
    if (r < 0)
        return r;
    part_of(sink->name, sink->part);

    if (spool->claim_fd >= 0 && strcmp(name, spool->claimed) == 0)
        sink->fd = take_fd(&spool->claim_fd);
    else
        sink->fd = create_part(spool->dir_fd, sink->part);
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

int spool_read(struct spool *spool, const char *name, uint64_t *ret_size)
{
    _cleanup_close_ int fd = -1;
    file_name checked;
    struct stat file;
    int r = make_name(name, "", checked);

    if (r < 0)
        return r;
    fd = openat(spool->dir_fd, checked, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &file) < 0)
        return -errno;
    /* A second link may be someone's way to have us read (and send) a file that they can't. */
    if (!S_ISREG(file.st_mode) || file.st_nlink != 1)
        return -EPERM;
    *ret_size = (uint64_t)file.st_size;
    return take_fd(&fd);
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    drop_claim(spool);
    close_fd(spool->dir_fd);
    free(spool);
}
