#include "capture/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "util/cleanup.h"

int open_regular_at(int dir_fd, const char *path, int flags)
{
    const int follow = (flags & AT_SYMLINK_NOFOLLOW) ? O_NOFOLLOW : 0;
    _cleanup_close_ int path_fd = openat(dir_fd, path, O_PATH | O_CLOEXEC | follow);
    char magic_link[32];
    struct stat st;
    int fd;

    if (path_fd < 0 || fstat(path_fd, &st) < 0)
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
