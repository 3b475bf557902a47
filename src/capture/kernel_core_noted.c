/* A core that a collector before this one had found, and noted in a journal of our own. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/kernel_core.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"

/* A shell reports its child's end, and coreinit sees a core appear, some time after it was
 * written; file systems stamp with a coarser clock. */
#define SLACK_S 1

/* Opens the directory and the file in it. */
static int open_in_directory(const char *path, struct kernel_core *core)
{
    const char *slash = strrchr(path, '/');
    char directory[sizeof(core->path)];

    if (path[0] != '/' || strlen(path) >= sizeof(core->path) ||
        strlen(slash + 1) >= sizeof(core->name))
        return -EINVAL;
    snprintf(core->path, sizeof(core->path), "%s", path);
    snprintf(core->name, sizeof(core->name), "%s", slash + 1);
    snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path) + 1, path);
    core->dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (core->dir_fd < 0)
        return -errno;
    core->fd = open_regular_at(core->dir_fd, core->name, AT_SYMLINK_NOFOLLOW);
    return core->fd < 0 ? core->fd : 0;
}

int kernel_core_open_noted(const char *path, const struct timespec *when, struct kernel_core **ret)
{
    _cleanup_kernel_core_ struct kernel_core *core = calloc(1, sizeof(*core));
    struct stat file;
    int r;

    if (!core)
        return -ENOMEM;
    core->fd = core->dir_fd = -1;
    r = open_in_directory(path, core);
    if (r < 0)
        return r;
    if (fstat(core->fd, &file) < 0)
        return -errno;
    if (file.st_nlink != 1 || file.st_mtim.tv_sec > when->tv_sec + SLACK_S)
        return -ESTALE;
    r = core_info_read(core->fd, &core->info);
    if (r == 0)
        *ret = take_ptr(core);
    return r;
}
