#include "capture/core_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "util/child.h"
#include "util/cleanup.h"

#define MOST_LEVELS 64
#define SMB2_MAGIC 0xfe534d42u /* fs/smb/common/smb2pdu.h */

struct sweep {
    const struct timespec *since;
    int64_t deadline;
    bool (*each)(const char *directory, void *context);
    void *context;
    char path[PATH_MAX];
};

static void close_directory(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

/* File systems in which no one can create a file, and those whose server may keep us waiting. */
static bool is_left_out(int fd)
{
    static const uint32_t magics[] = {
        PROC_SUPER_MAGIC,   SYSFS_MAGIC,      CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
        DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,    TRACEFS_MAGIC,      BPF_FS_MAGIC,
        SECURITYFS_MAGIC,   PSTOREFS_MAGIC,   NFS_SUPER_MAGIC,    FUSE_SUPER_MAGIC,
        SMB_SUPER_MAGIC,    CIFS_SUPER_MAGIC, SMB2_MAGIC,         CEPH_SUPER_MAGIC,
        V9FS_MAGIC,         AFS_SUPER_MAGIC,
    };
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0 || (fs.f_flags & ST_RDONLY))
        return true;
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if ((uint32_t)fs.f_type == magics[i])
            return true;
    return false;
}

static int walk(struct sweep *sweep, int fd, dev_t parent_device, unsigned level);

/* One name of a directory. Where the file system doesn't tell the type, opening does. */
static int step(struct sweep *sweep, int dir_fd, const struct dirent *entry, dev_t device,
                unsigned level)
{
    size_t used = strlen(sweep->path);
    int fd, n, r;

    if ((entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) ||
        strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return 0;
    n = snprintf(sweep->path + used, sizeof(sweep->path) - used, "/%s", entry->d_name);
    if (n < 0 || (size_t)n >= sizeof(sweep->path) - used) {
        sweep->path[used] = '\0';
        return 0;
    }
    fd = openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = fd < 0 ? 0 : walk(sweep, fd, device, level + 1);
    sweep->path[used] = '\0';
    return r;
}

/* Takes the descriptor. Returns 1 (found), 0 or -ETIME. */
static int walk(struct sweep *sweep, int fd, dev_t parent_device, unsigned level)
{
    _cleanup_(close_directory) DIR *directory = NULL;
    _cleanup_close_ int owned = fd;
    const struct dirent *entry;
    struct stat st;
    int r = 0;

    if (level == MOST_LEVELS || fstat(owned, &st) < 0)
        return 0;
    if ((level == 0 || st.st_dev != parent_device) && is_left_out(owned))
        return 0;
    if (st.st_mtim.tv_sec >= sweep->since->tv_sec &&
        sweep->each(sweep->path[0] ? sweep->path : "/", sweep->context))
        return 1;
    directory = fdopendir(owned);
    if (!directory)
        return 0;
    take_fd(&owned);
    while (r == 0 && (entry = readdir(directory)))
        r = monotonic_ns() >= sweep->deadline
                ? -ETIME
                : step(sweep, dirfd(directory), entry, st.st_dev, level);
    return r;
}

int core_sweep(const struct timespec *since, unsigned seconds,
               bool (*each)(const char *directory, void *context), void *context)
{
    struct sweep sweep = {
        .since = since,
        .deadline = monotonic_ns() + seconds * 1000000000ll,
        .each = each,
        .context = context,
    };
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? -errno : walk(&sweep, fd, 0, 0);

    return r > 0 ? 0 : r;
}
