#include "ctl/executable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "capture/module_file.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"
#include "util/log.h"

static bool is_the_one(int fd, const char *path, const struct core_info *info,
                       const struct core_module *executable)
{
    if (!executable)
        return true; /* nothing to tell it by */
    if (!executable->build_id[0])
        return strncmp(executable->path, path, strlen(path)) == 0;
    return module_check(info, executable, fd) == 0;
}

int executable_open(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;
    const struct core_info *info = bundle->info;
    const struct core_module *executable =
        info && info->knows_executable ? &info->modules[0] : NULL;
    const char *paths[] = {executable ? executable->path : "", record->exe};
    int error = -ENOENT;

    if (record->exe_fd >= 0 && is_the_one(record->exe_fd, record->exe, info, executable)) {
        int fd = fcntl(record->exe_fd, F_DUPFD_CLOEXEC, 3);

        return fd < 0 ? -errno : fd;
    }
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        _cleanup_close_ int fd =
            paths[i][0] ? open_regular_in_root(record->root_fd, paths[i], 0) : -ENOENT;

        if (fd >= 0 && is_the_one(fd, paths[i], info, executable))
            return take_fd(&fd);
        if (fd >= 0)
            error = -ESTALE;
        else if (fd != -ENOENT)
            error = fd;
        if (fd >= 0)
            log_warning("%s was replaced since it ran (it is another file now): it is not bundled",
                        paths[i]);
    }
    return log_errno(error, "the executable of pid %d is not to be had",
                     executable ? info->pid : record->pid);
}
