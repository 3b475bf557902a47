#include "ctl/record.h"

#include <errno.h>
#include <fcntl.h>

#include "util/io.h"
#include "util/log.h"

static void terminate(char *text, size_t size)
{
    text[size - 1] = '\0';
}

static void check_fd(int32_t *fd)
{
    if (*fd >= 0 && fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0)
        *fd = -1;
}

int record_read(int fd, struct crash_record *ret)
{
    ssize_t n = pread_full(fd, ret, sizeof(*ret), 0);

    if (n < 0)
        return log_errno((int)n, "cannot read the crash record from descriptor %d", fd);
    if ((size_t)n != sizeof(*ret) || ret->magic != CRASH_RECORD_MAGIC ||
        ret->version != CRASH_RECORD_VERSION || ret->size != sizeof(*ret)) {
        log_error("descriptor %d holds no crash record of this version (" COREINIT_VERSION
                  "): use coreinit and corectl of one build",
                  fd);
        return -EBADMSG;
    }

#define TERMINATE(field) terminate(ret->field, sizeof(ret->field))
    TERMINATE(cwd);
    TERMINATE(exe);
    TERMINATE(stat);
    TERMINATE(status);
    TERMINATE(limits);
    TERMINATE(capture_mode);
    TERMINATE(capture_why);
    TERMINATE(settings.cores_dir);
    TERMINATE(settings.run_id);
    TERMINATE(settings.config);
    TERMINATE(settings.bucket);
    TERMINATE(settings.key_prefix);
    TERMINATE(settings.region);
    TERMINATE(settings.endpoint);
#undef TERMINATE
    for (size_t i = 0; i < CRASH_DIRECTORIES; i++)
        terminate(ret->directories[i], sizeof(ret->directories[i]));
    if (ret->cmdline_size > sizeof(ret->cmdline))
        ret->cmdline_size = sizeof(ret->cmdline);
    check_fd(&ret->exe_fd);
    check_fd(&ret->maps_fd);
    return 0;
}
