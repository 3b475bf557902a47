#include "store/spool_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/proc_text.h"

/* The number of the mount that a file is on (proc_pid_fdinfo(5)), or -1. */
static long mount_id(int fd)
{
    char path[48], text[512];
    const char *id;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    if (read_text_at(AT_FDCWD, path, text, sizeof(text)) < 0)
        return -1;
    id = proc_line(text, "mnt_id:");
    return id ? strtol(id, NULL, 10) : -1;
}

static bool is_own_mount(int fd)
{
    _cleanup_close_ int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    return root_fd >= 0 && mount_id(fd) != mount_id(root_fd);
}

static int try_to_write(int dir_fd)
{
    char name[64];
    _cleanup_close_ int fd = -1;
    int r;

    snprintf(name, sizeof(name), ".corectl-doctor-%d.part", getpid());
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = write_text(fd, "x");
    (void)unlinkat(dir_fd, name, 0);
    return r;
}

static void look_at(int fd, struct spool_place *ret)
{
    struct statvfs room;
    struct statfs system;

    ret->error = try_to_write(fd);
    ret->is_own_mount = is_own_mount(fd);
    ret->is_memory = fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
    if (fstatvfs(fd, &room) < 0)
        return;
    ret->free_bytes = (uint64_t)room.f_bavail * room.f_frsize;
    if (room.f_files > 0)
        ret->free_inodes = room.f_favail;
}

static int open_directory(const char *path)
{
    const int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

void spool_place_look(const char *path, struct spool_place *ret)
{
    _cleanup_close_ int fd = open_directory(path);
    const bool is_made = fd == -ENOENT && mkdir(path, 0700) == 0;

    *ret = (struct spool_place){
        .exists = fd >= 0 || fd == -ENOTDIR, .error = fd, .free_inodes = UINT64_MAX};
    if (fd == -ENOENT && !is_made)
        ret->error = -errno;
    if (is_made)
        ret->error = fd = open_directory(path);
    if (fd >= 0)
        look_at(fd, ret);
    if (is_made)
        (void)rmdir(path);
}
