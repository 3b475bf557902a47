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

#include "init/collecting.h"
#include "init/crash_queue.h"
#include "init/lending.h"
#include "init/reactions.h"
#include "init/signals.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/core_signals.h"
#include "util/log.h"

/* Seen in one round, before signals are read again. */
#define MOST_CHANGES 256

/* What a sweeper has to end well, where coreinit isn't PID 1: whose end is everyone's. */
#define LAST_MS 1000

/* A stop that is under way leaves a collection less time. */
static enum event crashed(const struct init *init)
{
    return stopping_deadline(&init->stopping, monotonic_ms()) == INT64_MAX ? CRASHED
                                                                           : CRASHED_STOPPING;
}

/* Killed by a core signal; or a shell that says 128+N of its child, which may have left a core. */
static bool dumps_core(const siginfo_t *end)
{
    if (end->si_code == CLD_EXITED)
        return end->si_status > 128 && signal_dumps_core(end->si_status - 128);
    return signal_dumps_core(end->si_status);
}

/* The same of the OOM killer's signal. What is traced tells of itself, with no need of a shell's
 * word. */
static bool is_oom_kill(struct init *init, const siginfo_t *end)
{
    if (end->si_code == CLD_EXITED)
        return end->si_status == 128 + SIGKILL && !init->tracer.is_on && oom_claims(&init->oom);
    return end->si_status == SIGKILL && oom_claims(&init->oom);
}

static void say_killed(const struct init *init, const siginfo_t *end)
{
    const bool knows_oom = end->si_status == SIGKILL && init->oom.fd >= 0;
    char text[24];

    if (!stopping_is_asked(&init->stopping, monotonic_ms()))
        log_notice("the program (pid %d) was killed by %s, which wasn't asked of coreinit%s",
                   init->program, signal_text(end->si_status, text, sizeof(text)),
                   knows_oom ? ", nor by the kernel for want of memory" : "");
}

/* Returns whether it was a crash. */
static bool tell_end(struct init *init, const siginfo_t *end, bool is_program)
{
    const bool is_killed = end->si_code != CLD_EXITED;
    const bool is_oom = is_oom_kill(init, end), is_crash = is_oom || dumps_core(end);
    /* A core that is watched for tells of its own coming, as what is traced does. */
    const bool is_hearsay = !is_killed && !is_oom && (init->tracer.is_on || init->watch.fd > 0);
    const bool is_bad =
        is_killed || (end->si_status != 0 && !init->options->is_expected[end->si_status & 0xff]);
    const bool is_told = is_program && is_bad && init->options->reports_exits;
    bool is_queued = false;

    if (is_killed && is_crash)
        queue_say_end(init, end, is_oom);
    else if (is_killed && is_program && !init->attach.is_on)
        say_killed(init, end);
    if (init->mode->is_on && is_crash && !is_hearsay)
        is_queued = queue_ended(init, end, true);
    else if (init->mode->is_on && is_told)
        is_queued = queue_ended(init, end, false);
    if (is_queued)
        react(init, crashed(init), 0);
    return is_crash;
}

/* Whether an end was told already: of a thread, or to coreinit as the tracer. */
static bool is_old_news(struct init *init, const siginfo_t *end)
{
    return end->si_code != CLD_EXITED && init->tracer.is_on &&
           !tracer_is_first_word(&init->tracer, end->si_pid);
}

static void hold_crash(struct init *init, const struct fatal_stop *stop)
{
    if (!queue_held(init, stop)) {
        tracer_pass(stop);
        return;
    }
    react(init, crashed(init), 0);
    if (stop->pid == init->program)
        react(init, PROGRAM_HELD, 0);
}

/* Returns whether it was the program. */
static bool process_ended(struct init *init, const siginfo_t *end)
{
    /* While there is no program its number may be somebody else's. */
    const bool is_program =
        end->si_pid == init->program && (!init->has_ended || init->attach.is_on);
    bool has_crashed;

    if (init->collecting.pid && end->si_pid == init->collecting.pid) {
        collecting_see_end(init, end);
        return false;
    }
    if (sweeper_see_end(&init->sweeper, end, monotonic_ms()))
        return false;
    has_crashed = tracer_see_end(&init->tracer, end->si_pid);
    if (!has_crashed && !is_old_news(init, end))
        has_crashed = tell_end(init, end, is_program);
    lending_forget(&init->tracer, end->si_pid);
    if (is_program) {
        init->has_ended = true;
        init->has_crashed = has_crashed;
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

/* What its end means for coreinit. */
static enum event end_of_program(struct init *init)
{
    const struct options *options = init->options;
    const int64_t now = monotonic_ms();
    int64_t pause;

    if (!init->has_crashed || stopping_is_asked(&init->stopping, now))
        return PROGRAM_ENDED;
    init->lingers = options->on_crash == ON_CRASH_LINGER;
    if (init->lingers)
        return PROGRAM_LINGERS;
    if (options->on_crash != ON_CRASH_RESTART)
        return PROGRAM_ENDED;
    pause = restart_pause(&init->restarts, options->restart_limit, now - init->started, now);
    if (pause < 0) {
        log_error("the program isn't started again: the limit of restarts in an hour is reached "
                  "(--restart-limit %u)",
                  options->restart_limit);
        return PROGRAM_ENDED;
    }
    init->pause_end = now + pause;
    return PROGRAM_RESTARTS;
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
        react(init, crashed(init), 0);
    if (is_program_ended)
        react(init, end_of_program(init), 0);
    return left == 0;
}

static void ask_to_stop(struct init *init, int signo)
{
    const int64_t now = monotonic_ms();
    int64_t deadline;

    stopping_ask(&init->stopping, signo, init->options->settings.stop_timeout, now);
    deadline = stopping_deadline(&init->stopping, now);
    if (deadline != INT64_MAX)
        sweeper_stop(&init->sweeper, deadline - now);
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
        if (signo == SIGCHLD || signals[i].ssi_pid == (uint32_t)getpid())
            continue;
        if (signal_stops(signo))
            ask_to_stop(init, signo);
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

static bool is_alive(enum doing doing)
{
    return doing == RUNNING || doing == BUSY || doing == LEAVING;
}

static bool is_pausing(enum doing doing)
{
    return doing == PAUSED || doing == PAUSED_BUSY || doing == LINGERING;
}

/* There is no collector, and one may be started. */
static bool is_idle(enum doing doing)
{
    return doing == RUNNING || doing == PAUSED || doing == LINGERING;
}

static bool is_collecting(enum doing doing)
{
    return !is_idle(doing) && doing != SEEKING && doing != DONE;
}

/* Not beside a collector: a bundle that one which is killed leaves is the next attempt's. */
static bool is_sweeping(const struct init *init)
{
    return init->doing != LAST && init->doing != STOPPING && !init->collecting.pid &&
           !stopping_is_asked(&init->stopping, monotonic_ms());
}

/* When there is something to do, whatever happens. */
static int64_t next_time(const struct init *init)
{
    const int64_t times[] = {
        is_collecting(init->doing) ? init->collecting.deadline : INT64_MAX,
        init->attach.is_on ? init->attach.next : INT64_MAX,
        is_alive(init->doing) ? init->next_look : INT64_MAX,
        is_idle(init->doing) ? core_watch_next(&init->watch) : INT64_MAX,
        is_pausing(init->doing) && !collecting_needs_core(init) ? init->pause_end : INT64_MAX,
        is_sweeping(init) && !init->sweeper.pid ? init->sweeper.next : INT64_MAX,
        init->oom.next,
    };
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (times[i] < next)
            next = times[i];
    return next;
}

/* Waits for a signal, for the collector's word, or until something is due. */
static void wait_for_events(const struct init *init, int64_t now)
{
    struct pollfd events[4 + MOST_LENT] = {
        {.fd = init->signal_fd, .events = POLLIN},
        {.fd = collecting_is_our_end(init) ? -1 : init->collecting.release_fd, .events = POLLIN},
        {.fd = init->tracer.calls_fd, .events = POLLIN},
        {.fd = init->watch.fd > 0 ? init->watch.fd : -1, .events = POLLIN},
    };
    const nfds_t n_lent = lending_poll(&init->tracer, &events[4]);

    (void)poll(events, 4 + n_lent, milliseconds_until(next_time(init), now));
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
    if (!collecting_is_our_end(init))
        collecting_see_release(init);
    if (calls & POLLIN)
        tracer_see_call(&init->tracer);
    else if (calls) { /* nobody has the filter any more */
        close_fd(init->tracer.calls_fd);
        init->tracer.calls_fd = -1;
    }
}

/* The collector has ended, or none could be started. */
static enum event after_collection(struct init *init)
{
    if (init->n_waiting > 0 || (init->has_ended && queue_appeared(init, INT64_MAX)))
        return COLLECTED_MORE;
    if (!init->has_ended)
        return COLLECTED_ALIVE;
    return init->lingers ? COLLECTED_LINGERS : COLLECTED;
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

/* What is due, whatever happens. */
static void see_time(struct init *init, int64_t now)
{
    if (init->collecting.pid && now >= init->collecting.deadline)
        react(init, OVERDUE, 0);
    if (is_pausing(init->doing) && now >= init->pause_end && !collecting_needs_core(init))
        react(init, PAUSE_OVER, 0);
    if (is_alive(init->doing))
        look(init, now);
    oom_look(&init->oom, now);
    if (is_sweeping(init))
        sweeper_attend(&init->sweeper, now);
    attend(init, now);
}

int init_run(struct init *init)
{
    const bool sweeps = init->has_corectl && init->mode->is_on;
    bool is_more = false;

    init->doing = init->attach.is_on ? SEEKING : RUNNING;
    init->has_ended = init->attach.is_on;
    sweeper_begin(&init->sweeper, sweeps ? init->corectl : NULL, &init->options->settings,
                  monotonic_ms());

    while (init->doing != DONE) {
        const int64_t now = monotonic_ms();

        see_time(init, now);
        if (!is_more)
            wait_for_events(init, now);
        read_signals(init);
        core_watch_read(&init->watch, monotonic_ms());
        read_others(init);
        is_more = reap(init);
        while (is_collecting(init->doing) && !init->collecting.pid)
            react(init, after_collection(init), 0);
        if (is_idle(init->doing) && queue_appeared(init, monotonic_ms()))
            react(init, crashed(init), 0);
    }
    sweeper_stop(&init->sweeper, LAST_MS);
    return init->attach.is_on && init->attach.name[0] ? 0 : init->exit_status;
}
