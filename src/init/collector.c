#include "init/collector.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "init/signals.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/own_path.h"

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

static void become_collector(const char *corectl, int record_fd, const struct crash_record *record)
{
    static const char *const loader_variables[] = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"};
    static const struct rlimit no_core = {0, 0};
    const int inherited[] = {record->exe_fd,     record->root_fd,   record->maps_fd,
                             record->mem_fd,     record->smaps_fd,  record->pagemap_fd,
                             record->threads_fd, record->release_fd};
    char number[16];
    int null_fd = open("/dev/null", O_RDONLY);

    (void)setpgid(0, 0);
    if (null_fd >= 0)
        (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    pass_on(STDERR_FILENO);
    pass_on(record_fd);
    for (size_t i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++)
        pass_on(inherited[i]);
    signals_reset();
    /* A background group that writes to a terminal with tostop is stopped otherwise. */
    (void)signal(SIGTTOU, SIG_IGN);
    /* What an image preloads is meant for its programs; it may be what crashed. */
    for (size_t i = 0; i < sizeof(loader_variables) / sizeof(loader_variables[0]); i++)
        (void)unsetenv(loader_variables[i]);
    snprintf(number, sizeof(number), "%d", record_fd);
    execl(corectl, corectl, "collect", "--record-fd", number, (char *)NULL);
    log_errno(errno, "cannot execute %s", corectl);
    _exit(127);
}

pid_t collector_start(const char *corectl, const struct crash_record *record)
{
    _cleanup_close_ int record_fd = memfd_create("crash-record", MFD_CLOEXEC);
    pid_t pid;
    int r;

    if (record_fd < 0)
        return log_errno(errno, "cannot hand the crash of pid %d to corectl: no memfd",
                         record->pid);
    r = write_all(record_fd, record, sizeof(*record));
    if (r < 0)
        return log_errno(r, "cannot hand the crash of pid %d to corectl", record->pid);
    pid = fork();
    if (pid == 0)
        become_collector(corectl, record_fd, record);
    if (pid < 0)
        return log_errno(errno, "cannot start corectl for the crash of pid %d", record->pid);
    return pid;
}
