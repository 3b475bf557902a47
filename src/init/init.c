#include "init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init/collector.h"
#include "init/signals.h"
#include "util/cleanup.h"
#include "util/core_signals.h"
#include "util/io.h"
#include "util/log.h"

/* Left of the runtime's patience for coreinit itself, once the collector's time is over. */
#define STOP_MARGIN_MS 2000

/* What can happen. */
enum event {
    PROGRAM_ENDED,
    CRASHED,        /* a record was put at the end of the queue */
    COLLECTED,      /* the collector ended, no crash waits */
    COLLECTED_MORE, /* the collector ended, and another crash waits */
    OVERDUE,        /* the collector's deadline has come */
    STOP_SIGNAL,
    OTHER_SIGNAL,
    N_EVENTS,
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void nothing(struct init *init, int signo)
{
    (void)init;
    (void)signo;
}

static void forward(struct init *init, int signo)
{
    pid_t target = init->options->kill_group ? -init->program : init->program;
    char text[24];

    log_debug("forwarding %s to pid %d", signal_text(signo, text, sizeof(text)), target);
    if (kill(target, signo) < 0)
        log_warning("cannot forward %s to pid %d: %s", signal_text(signo, text, sizeof(text)),
                    target, strerrordesc_np(errno));
}

static void drop_first(struct init *init)
{
    close_fd(init->waiting[0].exe_fd);
    close_fd(init->waiting[0].maps_fd);
    init->n_waiting--;
    memmove(&init->waiting[0], &init->waiting[1], init->n_waiting * sizeof(init->waiting[0]));
}

/* Takes the first of the queue; init_run() sees it where no collector could be started. */
static void collect(struct init *init, int signo)
{
    uint32_t timeout = init->options->settings.collect_timeout;
    pid_t pid = collector_start(init->corectl, &init->waiting[0]);

    (void)signo;
    init->collected = init->waiting[0].pid;
    drop_first(init);
    if (pid < 0)
        return;
    init->collector = pid;
    init->is_killed = false;
    init->deadline = timeout ? now_ms() + (int64_t)timeout * 1000 : INT64_MAX;
    if (init->patience < init->deadline)
        init->deadline = init->patience;
}

static void kill_collector(struct init *init, int signo)
{
    (void)signo;
    if (!init->collector)
        return;
    log_error("corectl is killed over the crash of pid %d, for its time is over: what is whole in "
              "%s stays, and so does the kernel's core",
              init->collected, init->options->settings.cores_dir);
    init->is_killed = true;
    init->deadline = INT64_MAX;
    /* Its group, with all that it started but gdb, which dies of its parent's death; and itself,
     * should it not have made its group yet. */
    (void)kill(-init->collector, SIGKILL);
    (void)kill(init->collector, SIGKILL);
}

/* The terminal's foreground group was the program's: from now on ^C is meant for us. */
static void take_terminal(struct init *init, int signo)
{
    (void)signo;
    if (tcgetpgrp(STDIN_FILENO) == init->program)
        (void)tcsetpgrp(STDIN_FILENO, getpgrp());
}

static void hurry(struct init *init, int signo)
{
    int64_t left = (int64_t)init->options->stop_timeout * 1000 - STOP_MARGIN_MS;

    take_terminal(init, signo);
    if (init->options->stop_timeout) {
        init->patience = now_ms() + left;
        if (init->patience < init->deadline)
            init->deadline = init->patience;
    }
    log_warning("asked to stop while a crash is collected: it goes on until %d s before "
                "COREINIT_STOP_TIMEOUT (%u s); the next signal stops at once",
                STOP_MARGIN_MS / 1000, init->options->stop_timeout);
}

static void stop_now(struct init *init, int signo)
{
    while (init->n_waiting > 0) {
        log_error("the crash of pid %d is not collected: the container is being stopped",
                  init->waiting[0].pid);
        drop_first(init);
    }
    kill_collector(init, signo);
}

/*
 * (what happened) x (what we were doing) -> what we do, and what we are doing then. What can't
 * happen changes nothing.
 */
static const struct {
    void (*act)(struct init *init, int signo);
    enum doing next;
} reactions[N_EVENTS][N_DOING] = {
    [PROGRAM_ENDED] = {[RUNNING] = {nothing, DONE},
                       [BUSY] = {take_terminal, LAST},
                       [LEAVING] = {hurry, STOPPING},
                       [LAST] = {nothing, LAST},
                       [STOPPING] = {nothing, STOPPING}},
    [CRASHED] = {[RUNNING] = {collect, BUSY},
                 [BUSY] = {nothing, BUSY},
                 [LEAVING] = {nothing, LEAVING},
                 [LAST] = {nothing, LAST},
                 [STOPPING] = {nothing, STOPPING}},
    [COLLECTED] = {[RUNNING] = {nothing, RUNNING},
                   [BUSY] = {nothing, RUNNING},
                   [LEAVING] = {nothing, RUNNING},
                   [LAST] = {nothing, DONE},
                   [STOPPING] = {nothing, DONE}},
    [COLLECTED_MORE] = {[RUNNING] = {collect, BUSY},
                        [BUSY] = {collect, BUSY},
                        [LEAVING] = {collect, LEAVING},
                        [LAST] = {collect, LAST},
                        [STOPPING] = {collect, STOPPING}},
    [OVERDUE] = {[RUNNING] = {nothing, RUNNING},
                 [BUSY] = {kill_collector, BUSY},
                 [LEAVING] = {kill_collector, LEAVING},
                 [LAST] = {kill_collector, LAST},
                 [STOPPING] = {stop_now, STOPPING}},
    [STOP_SIGNAL] = {[RUNNING] = {forward, RUNNING},
                     [BUSY] = {forward, LEAVING},
                     [LEAVING] = {forward, LEAVING},
                     [LAST] = {hurry, STOPPING},
                     [STOPPING] = {stop_now, STOPPING}},
    [OTHER_SIGNAL] = {[RUNNING] = {forward, RUNNING},
                      [BUSY] = {forward, BUSY},
                      [LEAVING] = {forward, LEAVING},
                      [LAST] = {nothing, LAST},
                      [STOPPING] = {nothing, STOPPING}},
};

static void react(struct init *init, enum event event, int signo)
{
    enum doing before = init->doing;

    if (before == DONE)
        return;
    init->doing = reactions[event][before].next;
    reactions[event][before].act(init, signo);
}

static void read_zombie(pid_t pid, const char *name, char *ret, size_t size)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    if (read_text_at(AT_FDCWD, path, ret, size) < 0)
        ret[0] = '\0';
}

static void say_end(const struct init *init, const siginfo_t *end)
{
    const char *who = end->si_pid == init->program ? "the program" : "a process";
    char text[24], name[64];

    read_zombie(end->si_pid, "comm", name, sizeof(name));
    signal_text(end->si_status, text, sizeof(text));
    log_error("%s, %s (pid %d), was killed by %s%s", who, name, end->si_pid, text,
              end->si_code == CLD_DUMPED ? " (core dumped)" : "");
}

/* Without corectl all that can be done is to say where the kernel put the core. */
static void say_where_core_lies(const struct init *init, const struct crash_record *record)
{
    char pattern[256];

    if (read_text_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", pattern, sizeof(pattern)) < 0)
        strcpy(pattern, "unknown");
    if (record->wait_code == CLD_DUMPED)
        log_error("the crash cannot be bundled without corectl, which is not at %s; the kernel "
                  "handed the core to core_pattern '%s', working directory %s: copy it before the "
                  "container is removed",
                  init->corectl, pattern, record->cwd[0] ? record->cwd : "unknown");
    else
        log_error("the crash cannot be bundled without corectl, which is not at %s; the kernel "
                  "wrote no core (core_pattern '%s')",
                  init->corectl, pattern);
}

/* Further crashes of a second are told apart by number where no spool can do it. */
static uint32_t number_in_second(struct init *init, time_t second)
{
    init->n_same_second = second == init->last_crash ? init->n_same_second + 1 : 1;
    init->last_crash = second;
    return init->n_same_second;
}

/* The program's own crash goes before those of its descendants. */
static bool make_room(struct init *init, pid_t pid)
{
    pid_t lost = pid;

    if (init->n_waiting < MAX_WAITING)
        return true;
    if (pid == init->program) {
        struct crash_record *last = &init->waiting[--init->n_waiting];

        lost = last->pid;
        close_fd(last->exe_fd);
        close_fd(last->maps_fd);
    }
    log_error("the crash of pid %d is not collected: %d others wait already", lost, MAX_WAITING);
    return pid == init->program;
}

/* Keeps what is lost once the process is reaped; called while it is a zombie. */
static void record_crash(struct init *init, const siginfo_t *end)
{
    bool of_child = end->si_code == CLD_EXITED;
    struct crash_record *record;

    if (!make_room(init, end->si_pid))
        return;
    record = &init->waiting[init->n_waiting];
    memset(record, 0, sizeof(*record));
    record->magic = CRASH_RECORD_MAGIC;
    record->version = CRASH_RECORD_VERSION;
    record->size = sizeof(*record);
    record->wait_code = end->si_code;
    record->wait_status = end->si_status;
    record->pid = end->si_pid;
    record->is_program = end->si_pid == init->program;
    clock_gettime(CLOCK_REALTIME, &record->ended_realtime);
    clock_gettime(CLOCK_BOOTTIME, &record->ended_boottime);
    record->ordinal = number_in_second(init, record->ended_realtime.tv_sec);
    read_zombie(end->si_pid, "stat", record->stat, sizeof(record->stat));
    read_zombie(end->si_pid, "status", record->status, sizeof(record->status));
    read_zombie(end->si_pid, "limits", record->limits, sizeof(record->limits));
    witness_testify(&init->witnesses, end->si_pid, of_child, record);
    strcpy(record->capture_mode, init->mode->name);
    strcpy(record->capture_why, init->mode->why);
    record->settings = init->options->settings;

    init->n_waiting++;
    if (init->has_corectl) {
        react(init, CRASHED, 0);
        return;
    }
    if (!of_child)
        say_where_core_lies(init, record);
    init->n_waiting--;
    close_fd(record->exe_fd);
    close_fd(record->maps_fd);
}

/* Killed by a core signal; or a shell that says 128+N of its child, which may have left a core. */
static bool is_crash(const siginfo_t *end)
{
    if (end->si_code == CLD_EXITED)
        return end->si_status > 128 && signal_dumps_core(end->si_status - 128);
    return signal_dumps_core(end->si_status);
}

static void collector_ended(struct init *init, const siginfo_t *end)
{
    const char *cores_dir = init->options->settings.cores_dir;
    char text[24];

    if (end->si_code != CLD_EXITED && !init->is_killed)
        log_error(
            "corectl was killed by %s while it collected the crash of pid %d: what is whole in "
            "%s stays, and so does the kernel's core",
            signal_text(end->si_status, text, sizeof(text)), init->collected, cores_dir);
    else if (end->si_code == CLD_EXITED && end->si_status != 0)
        log_error("corectl failed with status %d over the crash of pid %d: what is whole in %s "
                  "stays, and so does the kernel's core",
                  end->si_status, init->collected, cores_dir);
    init->collector = 0;
    init->deadline = INT64_MAX;
}

/* Returns whether it was the program. */
static bool process_ended(struct init *init, const siginfo_t *end)
{
    bool is_program = end->si_pid == init->program;

    if (end->si_pid == init->collector) {
        collector_ended(init, end);
        return false;
    }
    if (is_crash(end)) {
        if (end->si_code != CLD_EXITED)
            say_end(init, end);
        if (init->mode->is_on)
            record_crash(init, end);
    }
    if (is_program) {
        init->exit_status = end->si_code == CLD_EXITED ? end->si_status : 128 + end->si_status;
        log_info("the program (pid %d) ended with status %d", init->program, init->exit_status);
        if (init->options->is_expected[init->exit_status & 0xff])
            init->exit_status = 0;
    } else if (init->options->warn_on_reap) {
        log_warning("reaped pid %d, which is not the program", end->si_pid);
    }
    return is_program;
}

/* Looks at each dead child while it is a zombie, then reaps it. */
static void reap(struct init *init)
{
    bool is_program_ended = false;
    siginfo_t end;

    for (;;) {
        end.si_pid = 0;
        if (waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT) < 0 || end.si_pid == 0)
            break;
        is_program_ended |= process_ended(init, &end);
        (void)waitid(P_PID, (id_t)end.si_pid, &end, WEXITED | WNOHANG);
    }
    /* Last: the crashes of children that became ours with its end are collected too. */
    if (is_program_ended)
        react(init, PROGRAM_ENDED, 0);
}

static void read_signals(struct init *init)
{
    struct signalfd_siginfo signals[16];
    ssize_t n = read(init->signal_fd, signals, sizeof(signals));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(signals[0]); i++) {
        int signo = (int)signals[i].ssi_signo;

        /* What this process brings upon itself is its own: SIGPIPE where nobody reads the log. */
        if (signo != SIGCHLD && signals[i].ssi_pid != (uint32_t)getpid())
            react(init, signal_stops(signo) ? STOP_SIGNAL : OTHER_SIGNAL, signo);
    }
}

static int milliseconds_until(int64_t when, int64_t now)
{
    return when <= now ? 0 : when - now > 60000 ? 60000 : (int)(when - now);
}

static void look(struct init *init, int64_t now)
{
    if (now < init->next_look)
        return;
    witness_look(&init->witnesses, init->program);
    init->next_look = now + witness_interval(&init->witnesses);
}

int init_run(struct init *init)
{
    init->deadline = init->patience = INT64_MAX;
    init->doing = RUNNING;
    init->next_look = INT64_MAX;
    if (init->mode->is_on) {
        witness_look_at_program(&init->witnesses, init->program, init->options->program);
        init->next_look = now_ms() + witness_interval(&init->witnesses);
    }

    while (init->doing != DONE) {
        struct pollfd signals = {.fd = init->signal_fd, .events = POLLIN};
        int64_t now = now_ms();
        bool is_alive = init->doing == RUNNING || init->doing == BUSY || init->doing == LEAVING;

        if (now >= init->deadline)
            react(init, OVERDUE, 0);
        if (is_alive)
            look(init, now);
        (void)poll(&signals, 1,
                   milliseconds_until(is_alive && init->next_look < init->deadline ? init->next_look
                                                                                   : init->deadline,
                                      now));
        read_signals(init);
        reap(init);
        while (init->doing != RUNNING && init->doing != DONE && !init->collector)
            react(init, init->n_waiting ? COLLECTED_MORE : COLLECTED, 0);
    }
    return init->exit_status;
}
