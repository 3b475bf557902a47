#include "ctl/executable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/build_id.h"
#include "util/cleanup.h"
#include "util/log.h"

static int open_regular(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat file;

    if (fd < 0 || fstat(fd, &file) < 0)
        return -errno;
    return S_ISREG(file.st_mode) ? take_fd(&fd) : -ENOENT;
}

static bool is_the_one(int fd, const struct core_module *executable)
{
    char build_id[sizeof(executable->build_id)];

    if (!executable || !executable->build_id[0])
        return true; /* nothing to tell it by */
    return build_id_of_file(fd, build_id, sizeof(build_id)) == 0 &&
           strcmp(build_id, executable->build_id) == 0;
}

int executable_open(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;
    const struct core_info *info = bundle->info;
    const struct core_module *executable =
        info && info->knows_executable ? &info->modules[0] : NULL;
    const char *paths[] = {executable ? executable->path : "", record->exe};
    int error = -ENOENT;

    if (record->exe_fd >= 0 && is_the_one(record->exe_fd, executable)) {
        int fd = fcntl(record->exe_fd, F_DUPFD_CLOEXEC, 3);

        return fd < 0 ? -errno : fd;
    }
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        _cleanup_close_ int fd = paths[i][0] ? open_regular(paths[i]) : -ENOENT;

        if (fd >= 0 && is_the_one(fd, executable))
            return take_fd(&fd);
        if (fd >= 0)
            error = -ESTALE;
        else if (fd != -ENOENT)
            error = fd;
        if (fd >= 0)
            log_warning("%s was replaced since it ran (another build-id): it is not bundled",
                        paths[i]);
    }
    return log_errno(error, "the executable of pid %d is not to be had", record->pid);
}
