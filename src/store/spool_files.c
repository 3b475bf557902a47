#include "store/spool_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

int make_name(const char *prefix, const char *stem, const char *suffix, file_name ret)
{
    const int n = snprintf(ret, sizeof(file_name), "%s%s%s", prefix, stem, suffix);

    if (n < 0 || (size_t)n + strlen(PART_SUFFIX) > NAME_MAX)
        return -ENAMETOOLONG;
    if (stem[0] == '\0' || strchr(ret, '/') || strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
        return -EINVAL;
    return 0;
}

void make_part_name(const char *name, file_name ret)
{
    snprintf(ret, sizeof(file_name), "%.*s%s", NAME_MAX - (int)strlen(PART_SUFFIX), name,
             PART_SUFFIX);
}

bool means_file(int dir_fd, const char *name, dev_t device, ino_t inode)
{
    struct stat found;

    return fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_dev == device &&
           found.st_ino == inode;
}

bool means_fd(int dir_fd, const char *name, int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 && means_file(dir_fd, name, file.st_dev, file.st_ino);
}

int create_file(int dir_fd, const char *name, int flags)
{
    const int fd =
        openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | flags, 0600);

    return fd < 0 ? -errno : fd;
}

static int check_own(const struct stat *file, uid_t uid)
{
    if (S_ISLNK(file->st_mode))
        return -ELOOP;
    if (file->st_nlink == 0) /* removed while it was opened */
        return -ENOENT;
    return S_ISREG(file->st_mode) && file->st_nlink == 1 && file->st_uid == uid ? 0 : -EPERM;
}

int look_at_own_file(int dir_fd, const char *name, uid_t uid, struct stat *ret)
{
    return fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : check_own(ret, uid);
}

int open_own_file(int dir_fd, const char *name, int flags, uid_t uid, struct stat *ret)
{
    _cleanup_close_ int fd = -1;
    int r = look_at_own_file(dir_fd, name, uid, ret);

    if (r < 0)
        return r;
    /* Without O_NONBLOCK a fifo that has come in between would hold us. */
    fd = openat(dir_fd, name, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
    if (fd < 0 || fstat(fd, ret) < 0)
        return -errno;
    r = check_own(ret, uid);
    return r < 0 ? r : take_fd(&fd);
}

void remove_file(int dir_fd, const char *name, int fd)
{
    if (means_fd(dir_fd, name, fd))
        (void)unlinkat(dir_fd, name, 0);
}

void remove_own_file(int dir_fd, const char *name, uid_t uid)
{
    struct stat found;

    if (fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_uid == uid)
        (void)unlinkat(dir_fd, name, 0);
}

int flush_file(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

uid_t find_own_uid(int dir_fd)
{
    _cleanup_close_ int fd = openat(dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    struct stat file;
    char name[64];

    if (fd < 0) { /* NFS has no O_TMPFILE */
        snprintf(name, sizeof(name), ".coreinit-%d-%d", getpid(), gettid());
        fd = create_file(dir_fd, name, 0);
        if (fd >= 0)
            remove_file(dir_fd, name, fd);
    }
    return fd >= 0 && fstat(fd, &file) == 0 ? file.st_uid : geteuid();
}
