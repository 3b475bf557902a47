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
#include "init/crash_queue.h"
#include "init/lending.h"
#include "init/signals.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/core_signals.h"
#include "util/log.h"

/* Seen in one round, before signals are read again. */
#define MOST_CHANGES 256

/* Left of the runtime's patience for coreinit itself, once the collector's time is over. */
#define STOP_MARGIN_MS 2000

/* What can happen. */
enum event {
    PROGRAM_ENDED,
    CRASHED,         /* a record was put at the end of the queue */
    PROGRAM_HELD,    /* at its fatal signal: its end is certain */
    COLLECTED,       /* the collector ended, no crash waits, and the program has ended */
    COLLECTED_ALIVE, /* the same, but the program hasn't */
    COLLECTED_MORE,  /* the collector ended, and another crash waits */
    OVERDUE,         /* the collector's deadline has come */
    STOP_SIGNAL,
    OTHER_SIGNAL,
    ATTACHED, /* to a process, which is the program from now on */
    N_EVENTS,
};

static int64_t now_ms(void)
{
    return monotonic_ns() / 1000000;
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

/*
 * Lets the process whose crash is collected die, if it is held: nothing more is read from it. Where
 * the collector doesn't say that it has the core, the kernel may still make one.
 */
static void release(struct init *init)
{
    bool has_core = false;
    char word;

    if (init->release_fd >= 0)
        has_core = read(init->release_fd, &word, sizeof(word)) == sizeof(word);
    close_fd(init->release_fd);
    init->release_fd = -1;
    tracer_let_go(&init->tracer, init->collected, has_core);
}

/* Takes the first of the queue; init_run() sees it where no collector could be started. */
static void collect(struct init *init, int signo)
{
    uint32_t timeout = init->options->settings.collect_timeout;
    struct crash_record *record = &init->waiting[0];
    int ends[2] = {-1, -1};
    pid_t pid;

    (void)signo;
    if (record->is_held && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        log_warning("pid %d is held until all of its crash is collected: no pipe", record->pid);
    init->release_fd = ends[0];
    record->release_fd = ends[1];
    init->collected = record->pid;
    if (record->appeared[0])
        strcpy(init->collected_name, "a core that appeared");
    else
        snprintf(init->collected_name, sizeof(init->collected_name), "the crash of pid %d",
                 record->pid);
    pid = collector_start(init->corectl, record);
    close_fd(ends[1]);
    queue_drop_first(init);
    if (pid < 0) {
        release(init);
        return;
    }
    init->collector = pid;
    init->is_killed = false;
    init->deadline = timeout ? now_ms() + (int64_t)timeout * 1000 : INT64_MAX;
    if (init->patience < init->deadline)
        init->deadline = init->patience;
}

/* Of a crash whose collection failed. */
static const char *what_stays(const struct init *init, char *ret, size_t size)
{
    snprintf(ret, size, "what is whole in %s stays%s", init->options->settings.cores_dir,
             init->tracer.is_on ? "" : ", and so does the kernel's core");
    return ret;
}

static void kill_collector(struct init *init, int signo)
{
    char text[PATH_MAX + 64];

    (void)signo;
    if (!init->collector)
        return;
    log_error("corectl is killed over %s, for its time is over: %s", init->collected_name,
              what_stays(init, text, sizeof(text)));
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

/* The runtime's patience counts from the first signal. */
static void lose_patience(struct init *init)
{
    if (!init->options->stop_timeout)
        return;
    if (init->patience == INT64_MAX)
        init->patience = now_ms() + (int64_t)init->options->stop_timeout * 1000 - STOP_MARGIN_MS;
    if (init->patience < init->deadline)
        init->deadline = init->patience;
}

/* A program that waits for a worker can't end while that is held. */
static void forward_to_waiting(struct init *init, int signo)
{
    forward(init, signo);
    if (init->release_fd >= 0)
        lose_patience(init);
}

/* What was asked to stop went on: the next collection has all of its time again. */
static void calm_down(struct init *init, int signo)
{
    (void)signo;
    init->patience = INT64_MAX;
}

static void hurry(struct init *init, int signo)
{
    take_terminal(init, signo);
    lose_patience(init);
    log_warning("asked to stop while a crash is collected: it goes on until %d s before "
                "COREINIT_STOP_TIMEOUT (%u s); the next signal stops at once",
                STOP_MARGIN_MS / 1000, init->options->stop_timeout);
}

static void stop_now(struct init *init, int signo)
{
    char path[PATH_MAX];

    while (init->n_waiting > 0) {
        log_error("the crash of pid %d is not collected: the container is being stopped",
                  init->waiting[0].pid);
        tracer_let_go(&init->tracer, init->waiting[0].pid, false);
        queue_drop_first(init);
    }
    while (core_watch_take(&init->watch, INT64_MAX, path, sizeof(path)))
        log_error("the core %s stays: the container is being stopped", path);
    kill_collector(init, signo);
}

static void let_go(struct init *init, int signo)
{
    (void)signo;
    /* The kernel lets all tracees go at our end. */
    if (!init->has_ended)
        log_notice("pid %d is let go, as coreinit is asked to stop", init->program);
}

/* The process to attach to ended before. */
static void miss(struct init *init, int signo)
{
    (void)signo;
    log_error("there is no process %d to attach to", init->attach.pid);
    init->exit_status = 1;
}

/* Waits for the next process of the name; a number has no next one. */
static void seek_next(struct init *init, int signo)
{
    (void)signo;
    witness_end(&init->witnesses);
    if (!init->attach.name[0])
        init->doing = DONE;
}

struct reaction {
    void (*act)(struct init *init, int signo);
    enum doing next;
};

/*
 * (what happened) x (what we were doing) -> what we do, and what we are doing then. What can't
 * happen changes nothing.
 */
static const struct reaction reactions[N_EVENTS][N_DOING] = {
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
    [PROGRAM_HELD] = {[RUNNING] = {nothing, RUNNING},
                      [BUSY] = {take_terminal, LAST},
                      [LEAVING] = {hurry, STOPPING},
                      [LAST] = {nothing, LAST},
                      [STOPPING] = {nothing, STOPPING}},
    [COLLECTED] = {[RUNNING] = {nothing, DONE},
                   [BUSY] = {nothing, DONE},
                   [LEAVING] = {nothing, DONE},
                   [LAST] = {nothing, DONE},
                   [STOPPING] = {nothing, DONE}},
    [COLLECTED_ALIVE] = {[RUNNING] = {nothing, RUNNING},
                         [BUSY] = {calm_down, RUNNING},
                         [LEAVING] = {calm_down, RUNNING},
                         [LAST] = {calm_down, RUNNING},
                         [STOPPING] = {calm_down, RUNNING}},
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
                     [BUSY] = {forward_to_waiting, LEAVING},
                     [LEAVING] = {forward_to_waiting, LEAVING},
                     [LAST] = {hurry, STOPPING},
                     [STOPPING] = {stop_now, STOPPING}},
    [OTHER_SIGNAL] = {[RUNNING] = {forward, RUNNING},
                      [BUSY] = {forward, BUSY},
                      [LEAVING] = {forward, LEAVING},
                      [LAST] = {nothing, LAST},
                      [STOPPING] = {nothing, STOPPING}},
};

/*
 * The same for a program that isn't ours, but attached to: signals are not for it, and after it
 * comes the next one, also while the collector works. What isn't here changes nothing.
 */
static const struct reaction attached_reactions[N_EVENTS][N_DOING] = {
    [ATTACHED] = {[SEEKING] = {nothing, RUNNING}, [LAST] = {nothing, BUSY}},
    [PROGRAM_ENDED] =
        {[SEEKING] = {miss, DONE}, [RUNNING] = {seek_next, SEEKING}, [BUSY] = {nothing, LAST}},
    [CRASHED] = {[SEEKING] = {collect, LAST}, [RUNNING] = {collect, BUSY}},
    [PROGRAM_HELD] = {[BUSY] = {nothing, LAST}},
    [COLLECTED] = {[BUSY] = {seek_next, SEEKING},
                   [LAST] = {seek_next, SEEKING},
                   [STOPPING] = {nothing, DONE}},
    [COLLECTED_ALIVE] = {[BUSY] = {calm_down, RUNNING},
                         [LAST] = {calm_down, RUNNING},
                         [STOPPING] = {nothing, DONE}},
    [COLLECTED_MORE] =
        {[BUSY] = {collect, BUSY}, [LAST] = {collect, LAST}, [STOPPING] = {collect, STOPPING}},
    [OVERDUE] = {[BUSY] = {kill_collector, BUSY},
                 [LAST] = {kill_collector, LAST},
                 [STOPPING] = {stop_now, STOPPING}},
    [STOP_SIGNAL] = {[SEEKING] = {let_go, DONE},
                     [RUNNING] = {let_go, DONE},
                     [BUSY] = {hurry, STOPPING},
                     [LAST] = {hurry, STOPPING},
                     [STOPPING] = {stop_now, STOPPING}},
};

static void react(struct init *init, enum event event, int signo)
{
    const struct reaction *reaction = init->attach.is_on ? &attached_reactions[event][init->doing]
                                                         : &reactions[event][init->doing];

    if (!reaction->act)
        return;
    init->doing = reaction->next;
    reaction->act(init, signo);
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
    char signal[24], text[PATH_MAX + 64];

    release(init);
    if (end->si_code != CLD_EXITED && !init->is_killed)
        log_error("corectl was killed by %s while it collected %s: %s",
                  signal_text(end->si_status, signal, sizeof(signal)), init->collected_name,
                  what_stays(init, text, sizeof(text)));
    else if (end->si_code == CLD_EXITED && end->si_status != 0)
        log_error("corectl failed with status %d over %s: %s", end->si_status, init->collected_name,
                  what_stays(init, text, sizeof(text)));
    init->collector = 0;
    init->deadline = INT64_MAX;
}

static void crash_ended(struct init *init, const siginfo_t *end)
{
    /* What is traced tells of its own crash, and a core that is watched for of its own coming: with
     * no need of a shell's word. */
    if (end->si_code == CLD_EXITED && (init->tracer.is_on || init->watch.fd > 0))
        return;
    if (init->tracer.is_on && !tracer_is_first_word(&init->tracer, end->si_pid))
        return;
    if (end->si_code != CLD_EXITED)
        queue_say_end(init, end);
    if (init->mode->is_on && queue_ended(init, end))
        react(init, CRASHED, 0);
}

static void hold_crash(struct init *init, const struct fatal_stop *stop)
{
    if (!queue_held(init, stop)) {
        tracer_pass(stop);
        return;
    }
    react(init, CRASHED, 0);
    if (stop->pid == init->program)
        react(init, PROGRAM_HELD, 0);
}

/* Returns whether it was the program. */
static bool process_ended(struct init *init, const siginfo_t *end)
{
    bool is_program = end->si_pid == init->program, is_known;

    if (end->si_pid == init->collector) {
        collector_ended(init, end);
        return false;
    }
    is_known = tracer_see_end(&init->tracer, end->si_pid);
    if (!is_known && is_crash(end))
        crash_ended(init, end);
    lending_forget(&init->tracer, end->si_pid);
    if (is_program) {
        init->has_ended = true;
        init->exit_status = end->si_code == CLD_EXITED ? end->si_status : 128 + end->si_status;
        init->attach.next = 0;
        log_line(init->attach.is_on ? LEVEL_NOTICE : LEVEL_INFO,
                 "the program (pid %d) ended with status %d", init->program, init->exit_status);
        if (init->options->is_expected[init->exit_status & 0xff])
            init->exit_status = 0;
    } else if (init->options->warn_on_reap && tracee_parent(end->si_pid) == getpid()) {
        log_warning("reaped pid %d, which is not the program", end->si_pid);
    }
    return is_program;
}

static void process_stopped(struct init *init, const siginfo_t *stop)
{
    struct fatal_stop fatal;
    siginfo_t consumed;

    (void)waitid(P_PID, (id_t)stop->si_pid, &consumed, WSTOPPED | WNOHANG | __WALL);
    /* The collector's group may be stopped by anyone, and isn't traced. */
    if (stop->si_code == CLD_TRAPPED && tracer_see_stop(&init->tracer, stop, &fatal))
        hold_crash(init, &fatal);
}

/*
 * Sees what became of children and tracees, at most so many at a time: signals want to be read too.
 * A dead one is looked at while it is a zombie, then reaped.
 *
 * Returns whether there may be more.
 */
static bool reap(struct init *init)
{
    bool is_program_ended = false;
    int left = MOST_CHANGES;
    siginfo_t change;

    for (; left > 0; left--) {
        change.si_pid = 0;
        if (waitid(P_ALL, 0, &change, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 ||
            change.si_pid == 0)
            break;
        if (change.si_code == CLD_TRAPPED || change.si_code == CLD_STOPPED) {
            process_stopped(init, &change);
            continue;
        }
        is_program_ended |= process_ended(init, &change);
        (void)waitid(P_PID, (id_t)change.si_pid, &change, WEXITED | WNOHANG | __WALL);
    }
    /* Last: the crashes of children that became ours with its end are collected too. */
    if (is_program_ended && init->doing == RUNNING && queue_appeared(init, INT64_MAX))
        react(init, CRASHED, 0);
    if (is_program_ended)
        react(init, PROGRAM_ENDED, 0);
    return left == 0;
}

static void read_signals(struct init *init)
{
    struct signalfd_siginfo signals[16];
    ssize_t n = read(init->signal_fd, signals, sizeof(signals));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(signals[0]); i++) {
        int signo = (int)signals[i].ssi_signo;
        struct request request;

        if (request_read(&signals[i], &request)) {
            lending_see_request(&init->tracer, &request);
            continue;
        }
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

/*
 * The end of a pid namespace's init is that of all in it, the collector included
 * (pid_namespaces(7)): attached to that, coreinit holds it until the collector has ended.
 */
static bool is_our_end(const struct init *init)
{
    return init->collected == 1;
}

/* Waits for a signal, for the collector's word, or until something is due. */
static void wait_for_events(const struct init *init, int64_t now, bool is_alive)
{
    struct pollfd events[4 + MOST_LENT] = {
        {.fd = init->signal_fd, .events = POLLIN},
        {.fd = is_our_end(init) ? -1 : init->release_fd, .events = POLLIN},
        {.fd = init->tracer.calls_fd, .events = POLLIN},
        {.fd = init->watch.fd > 0 ? init->watch.fd : -1, .events = POLLIN},
    };
    const nfds_t n_lent = lending_poll(&init->tracer, &events[4]);
    int64_t next = init->deadline;

    if (init->attach.is_on && init->attach.next < next)
        next = init->attach.next;
    if (is_alive && init->next_look < next)
        next = init->next_look;
    if (init->doing == RUNNING && core_watch_next(&init->watch) < next)
        next = core_watch_next(&init->watch);
    (void)poll(events, 4 + n_lent, milliseconds_until(next, now));
}

static short state_of(int fd)
{
    struct pollfd state = {.fd = fd, .events = POLLIN};

    return poll(&state, 1, 0) > 0 ? state.revents : 0;
}

static void read_others(struct init *init)
{
    short calls = state_of(init->tracer.calls_fd);

    lending_see_ends(&init->tracer);
    if (init->release_fd >= 0 && !is_our_end(init) && state_of(init->release_fd))
        release(init);
    if (calls & POLLIN)
        tracer_see_call(&init->tracer);
    else if (calls) { /* nobody has the filter any more */
        close_fd(init->tracer.calls_fd);
        init->tracer.calls_fd = -1;
    }
}

static bool is_collecting(enum doing doing)
{
    return doing != RUNNING && doing != SEEKING && doing != DONE;
}

/* The collector has ended, or none could be started. */
static enum event after_collection(struct init *init)
{
    if (init->n_waiting > 0 || (init->has_ended && queue_appeared(init, INT64_MAX)))
        return COLLECTED_MORE;
    return init->has_ended ? COLLECTED : COLLECTED_ALIVE;
}

/* Attaches to the program, or sees to it that it is there. */
static void attend(struct init *init, int64_t now)
{
    bool may_attach;
    pid_t pid;

    if (!init->attach.is_on || now < init->attach.next)
        return;
    if (!init->has_ended) {
        if (!attach_is_lost(&init->attach, &init->tracer, init->program))
            return;
        log_notice("pid %d is traced no more, for it ended or is about to", init->program);
        init->has_ended = true;
        react(init, PROGRAM_ENDED, 0);
        return;
    }
    init->attach.next = INT64_MAX;
    may_attach = init->doing == SEEKING || (init->doing == LAST && init->attach.name[0]);
    pid = may_attach ? attach_seek(&init->attach, &init->tracer) : 0;
    if (pid == -ESRCH)
        react(init, PROGRAM_ENDED, 0);
    if (pid <= 0)
        return;
    init->program = pid;
    init->has_ended = false;
    witness_begin(&init->witnesses, pid);
    react(init, ATTACHED, 0);
}

int init_run(struct init *init)
{
    bool is_more = false;

    init->deadline = init->patience = INT64_MAX;
    init->doing = init->attach.is_on ? SEEKING : RUNNING;
    init->has_ended = init->attach.is_on;
    init->next_look = INT64_MAX;
    init->release_fd = -1;
    if (init->mode->is_on && !init->attach.is_on)
        witness_look_at_program(&init->witnesses, init->program, init->options->program);
    /* What is traced is looked at when it stops. */
    if (init->mode->is_on && !init->tracer.is_on)
        init->next_look = now_ms() + witness_interval(&init->witnesses);

    while (init->doing != DONE) {
        int64_t now = now_ms();
        bool is_alive = init->doing == RUNNING || init->doing == BUSY || init->doing == LEAVING;

        if (now >= init->deadline)
            react(init, OVERDUE, 0);
        if (is_alive)
            look(init, now);
        attend(init, now);
        if (!is_more)
            wait_for_events(init, now, is_alive);
        read_signals(init);
        core_watch_read(&init->watch, now_ms());
        read_others(init);
        is_more = reap(init);
        while (is_collecting(init->doing) && !init->collector)
            react(init, after_collection(init), 0);
        if (init->doing == RUNNING && queue_appeared(init, now_ms()))
            react(init, CRASHED, 0);
    }
    return init->attach.is_on && init->attach.name[0] ? 0 : init->exit_status;
}
