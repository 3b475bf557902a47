#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/spool_state.h"
#include "util/cleanup.h"

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

int spool_set_destination(struct spool *spool, const char *bucket, const char *key_prefix)
{
    const size_t size = sizeof(spool->destination);
    const int n = bucket[0] ? snprintf(spool->destination, size, "s3://%s/%s", bucket, key_prefix)
                            : snprintf(spool->destination, size, "%s", "");

    if (n >= 0 && (size_t)n < size)
        return 0;
    spool->destination[0] = '\0';
    return -ENAMETOOLONG;
}

void spool_set_crash(struct spool *spool, const struct journal_crash *crash)
{
    spool->crash = *crash;
}

uid_t spool_uid(struct spool *spool)
{
    if (!spool->knows_uid)
        spool->uid = find_own_uid(spool->dir_fd);
    spool->knows_uid = true;
    return spool->uid;
}

int spool_artifact(const char *id, enum artifact_kind kind, file_name ret)
{
    return make_name("", id, artifact_suffixes[kind], ret);
}

int spool_held_kind(const struct spool *spool, const char *name)
{
    file_name found;

    for (int kind = 0; spool->id[0] && kind < ARTIFACT_KINDS; kind++)
        if (spool_artifact(spool->id, (enum artifact_kind)kind, found) == 0 &&
            strcmp(found, name) == 0)
            return kind;
    return -1;
}

struct written *spool_find_written(struct spool *spool, const char *name)
{
    for (size_t i = 0; i < spool->n_written; i++)
        if (strcmp(spool->written[i].name, name) == 0)
            return &spool->written[i];
    return NULL;
}

void spool_note_written(struct spool *spool, const char *name, const struct stat *file)
{
    struct written *written = spool_find_written(spool, name);

    if (!written && spool->n_written < ARTIFACT_KINDS) {
        written = &spool->written[spool->n_written++];
        snprintf(written->name, sizeof(written->name), "%s", name);
    }
    if (written) {
        written->device = file->st_dev;
        written->inode = file->st_ino;
    }
}

bool spool_is_ours(const struct spool *spool, const struct journal_notes *notes)
{
    return !notes->destination[0] || strcmp(notes->destination, spool->destination) == 0;
}

int spool_read(struct spool *spool, const char *name, uint64_t *ret_size)
{
    file_name checked;
    struct stat file;
    int fd = make_name("", name, "", checked);

    if (fd == -ENAMETOOLONG && strlen(name) <= NAME_MAX) /* a .part's own name */
        fd = 0;
    if (fd < 0)
        return fd;
    fd = open_own_file(spool->dir_fd, name, O_RDONLY, spool_uid(spool), &file);
    if (fd >= 0)
        *ret_size = (uint64_t)file.st_size;
    return fd;
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    if (spool->id[0])
        spool_release(spool, spool->id);
    close_fd(spool->dir_fd);
    free(spool);
}
