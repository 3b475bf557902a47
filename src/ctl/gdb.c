/* corectl gdb: takes coreinit's place as the tracer, and becomes gdb. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture/gdb.h"
#include "ctl/commands.h"
#include "ctl/target.h"
#include "trace/identity.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/log.h"

/* -iex SETTING, -p PID, and the end. */
#define OWN_ARGUMENTS 6

/* A stop is one that lasts: so long between two looks, and so many after gdb's end. */
#define LOOK_PAUSE_NS 20000000
#define LOOKS 25

static void pause_between_looks(void)
{
    const struct timespec pause = {.tv_nsec = LOOK_PAUSE_NS};

    nanosleep(&pause, NULL);
}

/* Stopped, by a signal or by its tracer. */
static bool is_stopped(pid_t pid)
{
    const char state = tracee_state(pid);

    return state == 'T' || state == 't';
}

static bool stays_stopped(pid_t pid)
{
    bool is_at_first = is_stopped(pid);

    pause_between_looks();
    return is_at_first && is_stopped(pid);
}

static void watch_gdb(int gdb_fd, pid_t pid, int pid_fd)
{
    struct pollfd end = {.fd = gdb_fd, .events = POLLIN};

    while (poll(&end, 1, -1) < 0 && errno == EINTR)
        continue;
    for (int i = 0; i < LOOKS; i++)
        if (stays_stopped(pid)) {
            (void)syscall(SYS_pidfd_send_signal, pid_fd, SIGCONT, NULL, 0);
            return;
        }
}

/*
 * gdb attaches by PTRACE_ATTACH, which sends SIGSTOP to each thread (ptrace(2)): where SIGKILL ends
 * it in between the process is left stopped. So one process outlives it, a stranger to gdb, and
 * lets a process run on that ran before.
 */
static void guard_against_gdbs_end(pid_t pid)
{
    _cleanup_close_ int gdb_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    _cleanup_close_ int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    pid_t between;

    if (gdb_fd < 0 || pid_fd < 0 || stays_stopped(pid))
        return;
    between = fork();
    if (between == 0) {
        if (fork() == 0) {
            (void)setsid();
            for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                close(fd);
            watch_gdb(gdb_fd, pid, pid_fd);
        }
        _exit(0);
    }
    if (between > 0)
        (void)waitpid(between, NULL, 0);
}

/* Whether a process sees other files than this one: it is another container's. */
static bool is_elsewhere(pid_t pid)
{
    struct stat own, other;
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/root/", pid);
    return stat("/", &own) == 0 && stat(path, &other) == 0 &&
           (own.st_dev != other.st_dev || own.st_ino != other.st_ino);
}

/* Its end, however it comes, is what coreinit waits for: the pid stays this one's. */
static int become_gdb(const char *gdb, pid_t pid, char **arguments, size_t n_arguments)
{
    _cleanup_free_ char **words = calloc(n_arguments + OWN_ARGUMENTS, sizeof(*words));
    char number[16], sysroot[64];
    size_t n = 0;

    if (!words)
        return -ENOMEM;
    snprintf(number, sizeof(number), "%d", pid);
    snprintf(sysroot, sizeof(sysroot), "set sysroot /proc/%d/root", pid);
    words[n++] = (char *)gdb;
    if (is_elsewhere(pid)) {
        words[n++] = "-iex";
        words[n++] = sysroot;
    }
    words[n++] = "-p";
    words[n++] = number;
    memcpy(&words[n], arguments, n_arguments * sizeof(*words));
    (void)signal(SIGPIPE, SIG_DFL);
    execv(gdb, words);
    return -errno;
}

static int debug(const struct target *target, char **arguments, size_t n_arguments)
{
    char gdb[PATH_MAX];
    int r;

    if (gdb_find(gdb, sizeof(gdb)) < 0) {
        log_error("there is no gdb here: install it, or use an image of coreinit with gdb "
                  "(docker build --build-arg WITH_GDB=1)");
        return -ENOENT;
    }
    r = target_take(target);
    if (r < 0)
        return r;
    if (target->is_traced)
        log_notice("coreinit (pid %d) let pid %d go, and traces it again when gdb ends: until then "
                   "its crash is gdb's, or the kernel's to capture",
                   target->coreinit, target->pid);
    guard_against_gdbs_end(target->pid);
    r = identity_become_owner(target->pid);
    if (r < 0)
        return log_errno(r, "cannot become the user of pid %d, which CAP_SYS_PTRACE would spare",
                         target->pid);
    r = become_gdb(gdb, target->pid, arguments, n_arguments);
    target_give_back(target);
    return log_errno(r, "cannot execute %s", gdb);
}

int command_gdb(int argc, char **argv)
{
    static const struct option options[] = {{"name", required_argument, NULL, 'n'}, {0}};
    const char *name = NULL;
    struct target target;
    pid_t pid = 0;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "+", options, NULL)) == 'n')
        name = optarg;
    if (c == -1 && !name && argv[optind] && strcmp(argv[optind - 1], "--") != 0) {
        if (!target_read_pid(argv[optind++], &pid))
            return 1;
        if (argv[optind] && strcmp(argv[optind], "--") == 0)
            optind++;
    }
    if (c != -1 || (name && !name[0])) {
        log_error("usage: corectl gdb [PID|--name NAME] [-- GDB-ARGS...]");
        return 1;
    }
    if (target_find(pid, name, &target) < 0)
        return 1;
    return debug(&target, argv + optind, (size_t)(argc - optind)) < 0;
}
