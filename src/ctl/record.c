#include "ctl/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

static void terminate(char *text, size_t size)
{
    text[size - 1] = '\0';
}

static void check_fd(int32_t *fd)
{
    if (*fd >= 0 && fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0)
        *fd = -1;
}

/* PID 1 holds the file, and leaves it to us to wait for its file system. */
static void open_held(int32_t *fd)
{
    char path[32];
    int opened;

    if (*fd < 0)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
    opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    close_fd(*fd);
    *fd = opened;
}

/* What is told of a process that is held, and of no other. */
static void check_held(struct crash_record *record)
{
    int32_t *const fds[] = {&record->mem_fd, &record->smaps_fd, &record->pagemap_fd,
                            &record->threads_fd, &record->release_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (record->is_held)
            check_fd(fds[i]);
        else
            *fds[i] = -1;
    }
    if (!record->is_held)
        record->auxv_size = 0;
    if (record->auxv_size > sizeof(record->auxv))
        record->auxv_size = sizeof(record->auxv);
}

static void forget_program(struct crash_record *record)
{
    close_fd(record->exe_fd);
    close_fd(record->maps_fd);
    record->exe_fd = record->maps_fd = -1;
    record->exe[0] = '\0';
    record->cmdline_size = 0;
}

/* Field 2: the leader's name, in parentheses. */
static bool has_same_name(const char *stat, const char *other)
{
    const char *end = strrchr(stat, ')'), *other_end = strrchr(other, ')');
    const char *name = strchr(stat, '('), *other_name = strchr(other, '(');

    return end && other_end && name && other_name && end - name == other_end - other_name &&
           memcmp(name, other_name, (size_t)(end - name)) == 0;
}

static bool has_same_start(const char *stat, const char *other)
{
    const char *start = proc_stat_field(stat, PROC_STAT_STARTTIME);
    const char *other_start = proc_stat_field(other, PROC_STAT_STARTTIME);

    return start && other_start && strtoull(start, NULL, 10) == strtoull(other_start, NULL, 10);
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
    TERMINATE(witness_stat);
    TERMINATE(status);
    TERMINATE(limits);
    TERMINATE(appeared);
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
    check_held(ret);
    open_held(&ret->exe_fd);
    return 0;
}

void record_doubt_witness(struct crash_record *record, const struct core_info *info)
{
    if (record->is_held || !record->witness_stat[0] || record->witness_pid != record->pid)
        return;
    if (!has_same_start(record->witness_stat, record->stat)) {
        log_info("pid %d was another process when it was last looked at", record->pid);
        forget_program(record);
        record->cwd[0] = '\0';
    } else if (info && info->knows_executable) {
        /* The core knows better; " (deleted)" may be behind either. */
        const char *exe = info->modules[0].path;

        if (strncmp(exe, record->exe, strlen(record->exe)) != 0 &&
            strncmp(exe, record->exe, strlen(exe)) != 0)
            forget_program(record);
    } else if (!has_same_name(record->witness_stat, record->stat)) {
        log_warning(
            "pid %d executed another program after it was last looked at, and left no core: "
            "which one isn't known",
            record->pid);
        forget_program(record);
    }
}
