#include "capture/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "capture/path_in_root.h"
#include "util/cleanup.h"

/* @path_fd has O_PATH. */
static int open_if_regular(int path_fd)
{
    char magic_link[32];
    struct stat st;
    int fd;

    if (fstat(path_fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -ELOOP;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;

    /* An O_PATH descriptor is turned into a real one through procfs: the same file for certain. */
    snprintf(magic_link, sizeof(magic_link), "/proc/self/fd/%d", path_fd);
    fd = open(magic_link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

int open_regular_at(int dir_fd, const char *path, int flags)
{
    const int follow = (flags & AT_SYMLINK_NOFOLLOW) ? O_NOFOLLOW : 0;
    _cleanup_close_ int path_fd = openat(dir_fd, path, O_PATH | O_CLOEXEC | follow);

    return path_fd < 0 ? -errno : open_if_regular(path_fd);
}

int open_regular_in_root(int root_fd, const char *path, int flags)
{
    _cleanup_close_ int path_fd = -1;

    if (root_fd <= 0)
        return open_regular_at(AT_FDCWD, path, flags);
    path_fd = path_in_root(root_fd, path, flags);
    return path_fd < 0 ? path_fd : open_if_regular(path_fd);
}
