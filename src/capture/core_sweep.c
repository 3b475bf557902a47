#include "capture/core_sweep.h"

#include <errno.h>
#include <fts.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "util/cleanup.h"

static void close_walk(FTS **walk)
{
    if (*walk)
        fts_close(*walk);
}

/* File systems in which no one can create a file. */
static bool is_pseudo(const char *path)
{
    static const uint32_t magics[] = {
        PROC_SUPER_MAGIC,   SYSFS_MAGIC,    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
        DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,  TRACEFS_MAGIC,      BPF_FS_MAGIC,
        SECURITYFS_MAGIC,   PSTOREFS_MAGIC,
    };
    struct statfs fs;

    if (statfs(path, &fs) < 0 || (fs.f_flags & ST_RDONLY))
        return true;
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if ((uint32_t)fs.f_type == magics[i])
            return true;
    return false;
}

static bool is_over(const struct timespec *deadline)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

int core_sweep(const struct timespec *since, unsigned seconds,
               bool (*each)(const char *directory, void *context), void *context)
{
    char *const roots[] = {(char[]){"/"}, NULL};
    _cleanup_(close_walk) FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    struct timespec deadline;
    dev_t device = 0;
    FTSENT *entry;

    if (!walk)
        return -errno;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += seconds;
    while ((entry = fts_read(walk))) {
        if (entry->fts_info != FTS_D)
            continue;
        if (is_over(&deadline))
            return -ETIME;
        /* Only where another file system begins is there anything new to ask. */
        if (entry->fts_dev != device && is_pseudo(entry->fts_accpath)) {
            fts_set(walk, entry, FTS_SKIP);
            continue;
        }
        device = entry->fts_dev;
        if (entry->fts_statp->st_mtim.tv_sec >= since->tv_sec && each(entry->fts_path, context))
            return 0;
    }
    return 0;
}
