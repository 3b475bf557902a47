/*
 * corectl snapshot: the bundle of a process that goes on.
 *
 * This process pauses the other one, and then only watches over it: a child of its makes the
 * bundle. However that ends, the clone is ended and reaped, and what is half-made is removed.
 * Should this process be killed, the kernel lets go all that it traces, the clone ends by itself
 * (process_clone.h) and so does the child.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/collection.h"
#include "ctl/commands.h"
#include "ctl/explained.h"
#include "ctl/pause.h"
#include "ctl/privileges.h"
#include "ctl/record.h"
#include "ctl/target.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

/* How often memory is looked at, and threads that couldn't be stopped. */
#define WATCH_INTERVAL_MS 50

struct snapshot {
    struct target target;
    struct crash_record record;
    struct pause pause;
    struct collection collection;
    sigset_t given; /* the signal mask */
    int signal_fd;
    int release_fd; /* readable, or at its end: nothing is read of the process any more */
    pid_t worker;
    int interrupted; /* by this signal, 0: not */
};

/* A spool's directory is an absolute path. */
static int set_directory(const char *out, char ret[PATH_MAX])
{
    char here[PATH_MAX] = "";

    if (out[0] != '/' && !getcwd(here, sizeof(here)))
        return log_errno(errno, "the working directory isn't known");
    if (snprintf(ret, PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", out) >= PATH_MAX)
        return log_errno(ENAMETOOLONG, "--out %s", out);
    return 0;
}

/* The settings that the coreinit here was given, else those of the environment and the ini file. */
static int read_settings(struct snapshot *snapshot, const char *out)
{
    struct crash_settings *settings = &snapshot->record.settings;
    static struct explained explained;

    explained_here(snapshot->target.coreinit, snapshot->target.name, &explained);
    if (explained.error[0]) {
        log_error("where the snapshot is to go isn't known: %s", explained.error);
        return -EINVAL;
    }
    snprintf(snapshot->record.capture_mode, sizeof(snapshot->record.capture_mode), "%s",
             explained.capture);
    snprintf(snapshot->record.capture_why, sizeof(snapshot->record.capture_why), "%s",
             explained.why);
    *settings = explained.settings;
    settings->log_level = log_max_level;
    return out ? set_directory(out, settings->cores_dir) : 0;
}

/* What has no memory, or is this. */
static int check_target(const struct target *target)
{
    char path[32], exe[16];

    if (target->pid == getpid()) {
        log_error("pid %d is corectl itself", target->pid);
        return -EINVAL;
    }
    if (target->pid == target->coreinit) {
        log_error("pid %d is coreinit; its program is meant without a PID", target->pid);
        return -EINVAL;
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", tracee_living_thread(target->pid));
    if (readlink(path, exe, sizeof(exe)) < 0 && errno == ENOENT) {
        log_error("%s (pid %d) is a thread of the kernel, or has ended: it has no memory",
                  target->name, target->pid);
        return -EINVAL;
    }
    return 0;
}

static int take_signals(struct snapshot *snapshot)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &mask, &snapshot->given);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes counts for memory files too */
    snapshot->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return snapshot->signal_fd < 0 ? -errno : 0;
}

/* In the worker. */
static int make_bundle(struct snapshot *snapshot)
{
    struct collection *collection = &snapshot->collection;
    int r;

    r = captured_open(&snapshot->record, pause_copy(&snapshot->pause), &collection->bundle,
                      &collection->captured);
    if (r < 0)
        log_error("pid %d left no core: %s", snapshot->record.pid, collection->bundle.no_core);
    collection_read(collection);
    r = collection_make(collection);
    collection_free(collection); /* what is half-made too */
    return r;
}

static int exit_status(int error)
{
    return error == -EAGAIN ? EX_TEMPFAIL : error < 0;
}

static int start_worker(struct snapshot *snapshot)
{
    const pid_t watcher = getpid();
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return log_errno(errno, "cannot make the bundle");
    snapshot->worker = fork();
    if (snapshot->worker < 0)
        return log_errno(errno, "cannot make the bundle: no process could be made");
    if (snapshot->worker == 0) {
        /* ^C is the watcher's to see. */
        (void)setpgid(0, 0);
        (void)signal(SIGTTOU, SIG_IGN);
        (void)sigprocmask(SIG_SETMASK, &snapshot->given, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != watcher)
            _exit(1);
        close_fd(ends[0]);
        snapshot->record.release_fd = ends[1];
        privileges_keep_for_collecting();
        _exit(exit_status(make_bundle(snapshot)));
    }
    (void)setpgid(snapshot->worker, snapshot->worker); /* here too: whoever comes first */
    close_fd(ends[1]);
    snapshot->release_fd = ends[0];
    return 0;
}

static void see_signals(struct snapshot *snapshot)
{
    struct signalfd_siginfo signal;

    while (read(snapshot->signal_fd, &signal, sizeof(signal)) == sizeof(signal))
        if (signal.ssi_signo != SIGCHLD && !snapshot->interrupted) {
            snapshot->interrupted = (int)signal.ssi_signo;
            (void)kill(-snapshot->worker, SIGKILL);
        }
}

static void see_release(struct snapshot *snapshot)
{
    char byte;

    if (snapshot->release_fd >= 0 && read(snapshot->release_fd, &byte, 1) >= 0) {
        close_fd(take_fd(&snapshot->release_fd));
        pause_end(&snapshot->pause);
    }
}

/* Watches until the worker has ended. Returns its status as wait(2) tells it. */
static int watch(struct snapshot *snapshot)
{
    int status = 0;

    for (;;) {
        struct pollfd events[] = {{.fd = snapshot->signal_fd, .events = POLLIN},
                                  {.fd = snapshot->release_fd, .events = POLLIN}};
        const bool is_watched = pause_see_late(&snapshot->pause) || snapshot->pause.clone.pid != 0;

        (void)poll(events, 2, is_watched ? WATCH_INTERVAL_MS : -1);
        pause_watch_memory(&snapshot->pause);
        see_signals(snapshot);
        if (events[1].revents)
            see_release(snapshot);
        if (waitpid(snapshot->worker, &status, WNOHANG) == snapshot->worker)
            return status;
    }
}

static int judge(struct snapshot *snapshot, int status)
{
    const struct target *target = &snapshot->target;
    const int signo = snapshot->interrupted ? snapshot->interrupted : WTERMSIG(status);
    bool is_whole;

    if (WIFEXITED(status))
        return WEXITSTATUS(status) == EX_TEMPFAIL ? -EAGAIN : WEXITSTATUS(status) ? -EIO : 0;
    is_whole = delivery_abandon(&snapshot->collection.delivery);
    log_error("%s SIG%s: %s; %s (pid %d) goes on",
              snapshot->interrupted ? "interrupted by" : "what makes the bundle was killed by",
              sigabbrev_np(signo),
              is_whole ? "the bundle in the cores dir is whole, but not all was sent"
                       : "there is no bundle",
              target->name, target->pid);
    return -EINTR;
}

/* Without a cores dir only S3 itself tells. */
static int find_place(struct collection *collection)
{
    int r = collection_find_place(collection);

    if (r == 0 && !collection->delivery.spool) {
        r = delivery_connect(&collection->delivery);
        delivery_disconnect(&collection->delivery); /* no threads before the fork(2) */
    }
    return r;
}

static int take(struct snapshot *snapshot)
{
    int r;

    /* Nothing stands still for a bundle that has no place. */
    r = find_place(&snapshot->collection);
    if (r == 0)
        r = pause_begin(&snapshot->target, &snapshot->record, &snapshot->pause);
    if (r < 0)
        return r;
    snapshot->collection.bundle.snapshot = &snapshot->pause.facts;
    r = start_worker(snapshot);
    if (r == 0)
        r = judge(snapshot, watch(snapshot));
    if (snapshot->release_fd >= 0 || snapshot->worker <= 0)
        pause_end(&snapshot->pause);
    return r;
}

static void snapshot_free(struct snapshot *snapshot)
{
    collection_free(&snapshot->collection);
    pause_free(&snapshot->pause);
    record_close(&snapshot->record);
    close_fd(snapshot->signal_fd);
    close_fd(snapshot->release_fd);
}

static int usage(void)
{
    log_error("usage: corectl snapshot [PID|--name NAME] [--out DIR]");
    return 1;
}

static int run(struct snapshot *snapshot, pid_t pid, const char *name, const char *out)
{
    int r = target_find(pid, name, &snapshot->target);

    if (r == 0)
        r = check_target(&snapshot->target);
    if (r < 0)
        return r;
    record_begin(&snapshot->record, snapshot->target.pid);
    snapshot->record.is_program = snapshot->target.coreinit &&
                                  tracee_parent(snapshot->target.pid) == snapshot->target.coreinit;
    r = read_settings(snapshot, out);
    if (r == 0)
        r = take_signals(snapshot);
    return r < 0 ? r : take(snapshot);
}

int command_snapshot(int argc, char **argv)
{
    static const struct option options[] = {
        {"name", required_argument, NULL, 'n'}, {"out", required_argument, NULL, 'o'}, {0}};
    static struct snapshot snapshot = {.signal_fd = -1, .release_fd = -1};
    const char *name = NULL, *out = NULL;
    pid_t pid = 0;
    int c, r;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'n')
            name = optarg;
        else if (c == 'o')
            out = optarg;
        else
            return usage();
    }
    if (optind < argc - 1 || (optind < argc && name) || (name && !name[0]) || (out && !out[0]))
        return usage();
    if (optind < argc && !target_read_pid(argv[optind], &pid))
        return 1;
    collection_begin(&snapshot.collection, &snapshot.record, NULL);
    pause_init(&snapshot.pause);
    record_begin(&snapshot.record, 0);
    r = run(&snapshot, pid, name, out);
    snapshot_free(&snapshot);
    return exit_status(r);
}
