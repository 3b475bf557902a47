#include "ctl/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

/* Deeper than any root directory lies. */
#define MOST_STEPS_UP 128

static void terminate(char *text, size_t size)
{
    text[size - 1] = '\0';
}

/* Bytes that are no bool may not even be looked at as one. */
static void settle_bool(bool *value)
{
    unsigned char byte;

    memcpy(&byte, value, sizeof(byte));
    *value = byte != 0;
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
                            &record->threads_fd};

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

static bool is_same_directory(const struct statx *left, const struct statx *right)
{
    return left->stx_ino == right->stx_ino && left->stx_dev_major == right->stx_dev_major &&
           left->stx_dev_minor == right->stx_dev_minor && left->stx_mnt_id == right->stx_mnt_id;
}

static int look_at_directory(int fd, struct statx *ret)
{
    return statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, ret) < 0 ? -errno : 0;
}

/* Goes up to where ".." leads no further. Returns 0 or -errno. */
static int go_up(int32_t *fd)
{
    struct statx here, above;
    int r = look_at_directory(*fd, &here);

    for (int steps = 0; r == 0 && steps < MOST_STEPS_UP; steps++) {
        int up = openat(*fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (up < 0)
            return -errno;
        close_fd(*fd);
        *fd = up;
        r = look_at_directory(up, &above);
        if (r == 0 && is_same_directory(&here, &above))
            return 0;
        here = above;
    }
    return r < 0 ? r : -ELOOP;
}

/*
 * procfs tells paths of a process as far as its mount namespace goes, or up to our own root where
 * that is in it: so not from the root that chroot(2) gave it. Where it is our own the paths are
 * ours too, and say more to a debugger than those below a descriptor.
 */
static void settle_root(int32_t *fd)
{
    _cleanup_close_ int own_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statx theirs, ours;

    if (*fd < 0)
        return;
    /* Where there is no telling it is a stranger's: its paths aren't looked up among our files. */
    if (go_up(fd) < 0 || look_at_directory(*fd, &theirs) < 0 ||
        look_at_directory(own_fd, &ours) < 0 || !is_same_directory(&theirs, &ours))
        return;
    close_fd(*fd);
    *fd = -1;
}

void record_begin(struct crash_record *record, pid_t pid)
{
    memset(record, 0, sizeof(*record));
    record->magic = CRASH_RECORD_MAGIC;
    record->version = CRASH_RECORD_VERSION;
    record->size = sizeof(*record);
    record->pid = record->crash_tid = record->witness_pid = pid;
    record->is_held = true;
    record->ordinal = record->attempt = 1;
    record->exe_fd = record->root_fd = record->maps_fd = -1;
    record->mem_fd = record->smaps_fd = record->pagemap_fd = -1;
    record->threads_fd = record->release_fd = -1;
    clock_gettime(CLOCK_REALTIME, &record->ended_realtime);
    clock_gettime(CLOCK_BOOTTIME, &record->ended_boottime);
}

static void read_proc(const struct crash_record *record, const char *name, char *ret, size_t size)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/%s", record->pid, name);
    if (read_text_at(AT_FDCWD, path, ret, size) < 0)
        ret[0] = '\0';
}

static void read_proc_link(const struct crash_record *record, const char *name, char *ret,
                           size_t size)
{
    char path[48];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", record->crash_tid, name);
    n = readlink(path, ret, size - 1);
    ret[n > 0 ? n : 0] = '\0';
}

static int open_proc(const struct crash_record *record, const char *name, int flags)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/%s", record->crash_tid, name);
    return open(path, flags | O_CLOEXEC);
}

/* It has NULs between its words, and may have some more at its end. */
static uint32_t read_bytes(const struct crash_record *record, const char *name, char *ret,
                           size_t size)
{
    _cleanup_close_ int fd = open_proc(record, name, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read_full(fd, ret, size);

    return n > 0 ? (uint32_t)n : 0;
}

void record_look(struct crash_record *record)
{
    read_proc(record, "stat", record->stat, sizeof(record->stat));
    read_proc(record, "status", record->status, sizeof(record->status));
    read_proc(record, "limits", record->limits, sizeof(record->limits));
    read_proc_link(record, "cwd", record->cwd, sizeof(record->cwd));
    read_proc_link(record, "exe", record->exe, sizeof(record->exe));
    record->cmdline_size = read_bytes(record, "cmdline", record->cmdline, sizeof(record->cmdline));
    record->auxv_size = read_bytes(record, "auxv", record->auxv, sizeof(record->auxv));
    record->exe_fd = open_proc(record, "exe", O_RDONLY | O_NONBLOCK);
    record->root_fd = open_proc(record, "root", O_PATH | O_DIRECTORY);
    settle_root(&record->root_fd);
}

void record_close(struct crash_record *record)
{
    const int fds[] = {record->exe_fd,     record->root_fd,   record->maps_fd,
                       record->mem_fd,     record->smaps_fd,  record->pagemap_fd,
                       record->threads_fd, record->release_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close_fd(fds[i]);
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
    TERMINATE(memory_events[0]);
    TERMINATE(memory_events[1]);
#define TERMINATE_SETTING(kind, field) TERMINATE(settings.field);
    CRASH_TEXT_SETTINGS(TERMINATE_SETTING)
#undef TERMINATE_SETTING
#undef TERMINATE
    for (size_t i = 0; i < CRASH_DIRECTORIES; i++)
        terminate(ret->directories[i], sizeof(ret->directories[i]));
    if (ret->cmdline_size > sizeof(ret->cmdline))
        ret->cmdline_size = sizeof(ret->cmdline);
    settle_bool(&ret->is_program);
    settle_bool(&ret->is_brief);
    settle_bool(&ret->is_report);
    settle_bool(&ret->was_asked_to_stop);
    settle_bool(&ret->is_held);
    settle_bool(&ret->settings.allow_http);
    if (ret->settings.keep_local > KEEP_NEVER)
        ret->settings.keep_local = KEEP_ALWAYS;
    check_fd(&ret->exe_fd);
    check_fd(&ret->maps_fd);
    check_fd(&ret->root_fd);
    settle_root(&ret->root_fd);
    check_fd(&ret->release_fd);
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
