#include "init/collector.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init/signals.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/own_path.h"

#define LOW_NICE 10

int collector_find(char *ret, size_t size)
{
    const char *asked = getenv("COREINIT_CORECTL");

    if (asked && asked[0])
        snprintf(ret, size, "%s", asked);
    else if (own_path("corectl", ret, size) < 0)
        return -ENOENT;
    return access(ret, X_OK) < 0 ? -errno : 0;
}

static void pass_on(int fd)
{
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, 0);
}

/* What a container's memory is for is the program: the kernel takes this process first. */
static void go_before_the_program(void)
{
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        (void)write_text(fd, "1000");
}

static void pass_on_all(const struct crash_record *record)
{
    const int inherited[] = {record->exe_fd,     record->root_fd,   record->maps_fd,
                             record->mem_fd,     record->smaps_fd,  record->pagemap_fd,
                             record->threads_fd, record->release_fd};

    for (size_t i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++)
        pass_on(inherited[i]);
}

static void become_corectl(char **words, int record_fd)
{
    static const char *const loader_variables[] = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"};
    static const struct rlimit no_core = {0, 0};
    int null_fd = open("/dev/null", O_RDONLY);

    (void)setpgid(0, 0);
    if (null_fd >= 0)
        (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    go_before_the_program();
    pass_on(STDERR_FILENO);
    pass_on(record_fd);
    signals_reset();
    /* A background group that writes to a terminal with tostop is stopped otherwise. */
    (void)signal(SIGTTOU, SIG_IGN);
    /* What an image preloads is meant for its programs; it may be what crashed. */
    for (size_t i = 0; i < sizeof(loader_variables) / sizeof(loader_variables[0]); i++)
        (void)unsetenv(loader_variables[i]);
    execv(words[0], words);
    log_errno(errno, "cannot execute %s", words[0]);
    _exit(127);
}

/* A memfd with the record. Returns it, or -errno. */
static int write_record(const struct crash_record *record)
{
    _cleanup_close_ int fd = memfd_create("crash-record", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : write_all(fd, record, sizeof(*record));

    return r < 0 ? r : take_fd(&fd);
}

pid_t collector_start(const char *corectl, const struct crash_record *record)
{
    _cleanup_close_ int record_fd = write_record(record);
    char number[16];
    char *words[] = {(char *)corectl, (char *)"collect", (char *)"--record-fd", number, NULL};
    pid_t pid;

    if (record_fd < 0)
        return log_errno(record_fd, "cannot hand the crash of pid %d to corectl", record->pid);
    snprintf(number, sizeof(number), "%d", record_fd);
    pid = fork();
    if (pid == 0) {
        pass_on_all(record);
        become_corectl(words, record_fd);
    }
    if (pid < 0)
        return log_errno(errno, "cannot start corectl for the crash of pid %d", record->pid);
    return pid;
}

pid_t collector_sweep(const char *corectl, const struct crash_settings *settings)
{
    struct crash_record record = {.magic = CRASH_RECORD_MAGIC,
                                  .version = CRASH_RECORD_VERSION,
                                  .size = sizeof(record),
                                  .attempt = 1,
                                  .exe_fd = -1,
                                  .root_fd = -1,
                                  .maps_fd = -1,
                                  .mem_fd = -1,
                                  .smaps_fd = -1,
                                  .pagemap_fd = -1,
                                  .threads_fd = -1,
                                  .release_fd = -1,
                                  .settings = *settings};
    _cleanup_close_ int record_fd = write_record(&record);
    char number[16];
    char *words[] = {(char *)corectl,       (char *)"upload", (char *)"--sweep",
                     (char *)"--record-fd", number,           NULL};
    pid_t pid;

    if (record_fd < 0)
        return log_errno(record_fd, "bundles of before are not sent");
    snprintf(number, sizeof(number), "%d", record_fd);
    pid = fork();
    if (pid == 0) {
        collector_lower(0);
        become_corectl(words, record_fd);
    }
    if (pid < 0)
        return log_errno(errno, "cannot start corectl to send the bundles of before");
    return pid;
}

void collector_tell_deadline(pid_t collector, int64_t left_ms)
{
    const union sigval left = {.sival_int = left_ms < 0         ? 0
                                            : left_ms < INT_MAX ? (int)left_ms
                                                                : INT_MAX};

    /* The user's queue may be full: corectl assumes the usual time then. */
    if (sigqueue(collector, SIGTERM, left) < 0)
        (void)kill(collector, SIGTERM);
}

void collector_lower(pid_t collector)
{
    const bool is_group = collector != 0;

    (void)setpriority(is_group ? PRIO_PGRP : PRIO_PROCESS, (id_t)collector, LOW_NICE);
    (void)syscall(SYS_ioprio_set, is_group ? IOPRIO_WHO_PGRP : IOPRIO_WHO_PROCESS, collector,
                  IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}
