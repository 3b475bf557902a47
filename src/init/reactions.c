#include "init/reactions.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "init/collecting.h"
#include "init/collector.h"
#include "init/crash_queue.h"
#include "init/signals.h"
#include "init/start.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/log.h"
#include "util/pid_reader.h"

/* What the bundle of before has to end, where the next one waits for it. */
#define MAKE_WAY_MS 30000

/* Of a look for those that are left. */
#define MOST_PROCESSES 4096

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

static void collect(struct init *init, int signo)
{
    (void)signo;
    collecting_begin(init);
}

static void kill_collector(struct init *init, int signo)
{
    (void)signo;
    collecting_kill(init);
}

/* The terminal's foreground group was the program's: from now on ^C is meant for us. */
static void take_terminal(struct init *init, int signo)
{
    (void)signo;
    if (tcgetpgrp(STDIN_FILENO) == init->program)
        (void)tcsetpgrp(STDIN_FILENO, getpgrp());
}

static int64_t stop_deadline(const struct init *init)
{
    return stopping_deadline(&init->stopping, monotonic_ms());
}

/* A program that waits for a worker can't end while that is held. */
static void forward_to_waiting(struct init *init, int signo)
{
    forward(init, signo);
    if (init->collecting.record.is_held && !init->collecting.is_let_go)
        collecting_limit(init, stop_deadline(init));
    else
        collecting_tell(init, stop_deadline(init));
}

/* What was asked to stop went on: the next collection has all of its time again. Not after SIGTERM:
 * what takes its time to stop is killed by the runtime all the same. */
static void calm_down(struct init *init, int signo)
{
    (void)signo;
    if (init->stopping.asked_until != INT64_MAX)
        init->stopping.deadline = 0;
}

/* The container ends once the collector has ended. */
static void hurry(struct init *init, int signo)
{
    const unsigned timeout = init->options->settings.stop_timeout;

    take_terminal(init, signo);
    collecting_limit(init, stop_deadline(init));
    if (timeout)
        log_warning("asked to stop while a crash is collected: it goes on until shortly before "
                    "COREINIT_STOP_TIMEOUT (%u s); the next signal stops at once",
                    timeout);
    else
        log_warning("asked to stop while a crash is collected: it goes on, as "
                    "COREINIT_STOP_TIMEOUT is 0; the next signal stops at once");
}

static void stop_now(struct init *init, int signo)
{
    char path[PATH_MAX];

    for (; init->n_waiting > 0; init->n_waiting--) {
        struct crash_record *record = &init->waiting[init->n_waiting - 1];

        log_error("the crash of pid %d is not collected: the container is being stopped",
                  record->pid);
        tracer_let_go(&init->tracer, record->pid, false);
        queue_close(record);
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

/*
 * The program is started again once its core is taken: its bundle of before, which is on its way,
 * makes way. What isn't sent by then is left to a sweep; without a cores dir it would be lost.
 */
static void make_way(struct init *init, int signo)
{
    (void)signo;
    if (init->options->on_crash == ON_CRASH_RESTART && init->options->settings.cores_dir[0] &&
        init->waiting[init->n_waiting - 1].is_program && init->collecting.is_let_go)
        collecting_limit(init, monotonic_ms() + MAKE_WAY_MS);
}

static void pause_for_restart(struct init *init, int signo)
{
    take_terminal(init, signo);
    log_warning("the program is started again in %lld s",
                (long long)(init->pause_end - monotonic_ms() + 999) / 1000);
}

/* Descendants of the program live on after it, as they do in every container. */
static void tell_of_left(const struct init *init)
{
    const pid_t self = getpid();
    struct pid_reader processes;
    pid_t pid, first = 0;
    int n = 0;

    if (pid_reader_open(&processes, "/proc") == 0)
        for (int seen = 0; seen < MOST_PROCESSES && (pid = pid_reader_next(&processes)); seen++)
            if (pid != init->collecting.pid && pid != init->sweeper.pid &&
                tracee_parent(pid) == self) {
                first = n++ ? first : pid;
            }
    pid_reader_close(&processes);
    if (n > 0)
        log_warning("%d process%s of the program's last life still run%s, pid %d%s: ports and "
                    "locks may be in use",
                    n, n == 1 ? "" : "es", n == 1 ? "s" : "", first, n == 1 ? "" : " and others");
}

static void start_again(struct init *init, int signo)
{
    int r;

    (void)signo;
    if (init->collecting.pid)
        collector_lower(init->collecting.pid);
    tell_of_left(init);
    restart_count(&init->restarts, monotonic_ms());
    r = program_start(init);
    if (r == 0) {
        log_notice("the program is started again, as pid %d", init->program);
        return;
    }
    init->exit_status = -r;
    react(init, PROGRAM_ENDED, 0);
}

static void give_up(struct init *init, int signo)
{
    (void)init;
    (void)signo;
    log_notice("asked to stop: the program isn't started again");
}

static void linger(struct init *init, int signo)
{
    const uint32_t minutes = init->options->linger_minutes;

    take_terminal(init, signo);
    if (init->pause_end)
        return;
    init->pause_end = minutes ? monotonic_ms() + minutes * 60000ll : INT64_MAX;
    if (minutes)
        log_warning("the container is kept up for %u min (--on-crash linger): look into it with "
                    "docker exec, kubectl exec or aws ecs execute-command; SIGTERM ends it",
                    minutes);
    else
        log_warning("the container is kept up (--on-crash linger): look into it with docker exec, "
                    "kubectl exec or aws ecs execute-command; SIGTERM ends it");
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
    [PROGRAM_RESTARTS] = {[RUNNING] = {pause_for_restart, PAUSED},
                          [BUSY] = {pause_for_restart, PAUSED_BUSY},
                          [LEAVING] = {pause_for_restart, PAUSED_BUSY},
                          [LAST] = {pause_for_restart, PAUSED_BUSY},
                          [STOPPING] = {nothing, STOPPING}},
    [PROGRAM_LINGERS] = {[RUNNING] = {linger, LINGERING},
                         [BUSY] = {take_terminal, LAST},
                         [LEAVING] = {hurry, STOPPING},
                         [LAST] = {nothing, LAST},
                         [STOPPING] = {nothing, STOPPING}},
    [CRASHED] = {[RUNNING] = {collect, BUSY},
                 [BUSY] = {make_way, BUSY},
                 [LEAVING] = {nothing, LEAVING},
                 [LAST] = {nothing, LAST},
                 [STOPPING] = {nothing, STOPPING},
                 [PAUSED] = {collect, PAUSED_BUSY},
                 [PAUSED_BUSY] = {nothing, PAUSED_BUSY},
                 [LINGERING] = {collect, LAST}},
    [CRASHED_STOPPING] = {[RUNNING] = {collect, LEAVING},
                          [BUSY] = {nothing, LEAVING},
                          [LEAVING] = {nothing, LEAVING},
                          [LAST] = {nothing, LAST},
                          [STOPPING] = {nothing, STOPPING},
                          [PAUSED] = {collect, PAUSED_BUSY},
                          [PAUSED_BUSY] = {nothing, PAUSED_BUSY},
                          [LINGERING] = {collect, LAST}},
    [PROGRAM_HELD] = {[RUNNING] = {nothing, RUNNING},
                      [BUSY] = {take_terminal, LAST},
                      [LEAVING] = {hurry, STOPPING},
                      [LAST] = {nothing, LAST},
                      [STOPPING] = {nothing, STOPPING}},
    [COLLECTED] = {[RUNNING] = {nothing, DONE},
                   [BUSY] = {nothing, DONE},
                   [LEAVING] = {nothing, DONE},
                   [LAST] = {nothing, DONE},
                   [STOPPING] = {nothing, DONE},
                   [PAUSED_BUSY] = {nothing, PAUSED}},
    [COLLECTED_ALIVE] = {[RUNNING] = {nothing, RUNNING},
                         [BUSY] = {calm_down, RUNNING},
                         [LEAVING] = {calm_down, RUNNING},
                         [LAST] = {calm_down, RUNNING},
                         [STOPPING] = {calm_down, RUNNING}},
    [COLLECTED_LINGERS] = {[BUSY] = {linger, LINGERING},
                           [LEAVING] = {linger, LINGERING},
                           [LAST] = {linger, LINGERING},
                           [STOPPING] = {nothing, DONE},
                           [PAUSED_BUSY] = {linger, LINGERING}},
    [COLLECTED_MORE] = {[RUNNING] = {collect, BUSY},
                        [BUSY] = {collect, BUSY},
                        [LEAVING] = {collect, LEAVING},
                        [LAST] = {collect, LAST},
                        [STOPPING] = {collect, STOPPING},
                        [PAUSED_BUSY] = {collect, PAUSED_BUSY}},
    [OVERDUE] = {[RUNNING] = {nothing, RUNNING},
                 [BUSY] = {kill_collector, BUSY},
                 [LEAVING] = {kill_collector, LEAVING},
                 [LAST] = {kill_collector, LAST},
                 [STOPPING] = {stop_now, STOPPING},
                 [PAUSED_BUSY] = {kill_collector, PAUSED_BUSY}},
    [PAUSE_OVER] = {[PAUSED] = {start_again, RUNNING},
                    [PAUSED_BUSY] = {start_again, BUSY},
                    [LINGERING] = {nothing, DONE}},
    [STOP_SIGNAL] = {[RUNNING] = {forward, RUNNING},
                     [BUSY] = {forward_to_waiting, LEAVING},
                     [LEAVING] = {forward_to_waiting, LEAVING},
                     [LAST] = {hurry, STOPPING},
                     [STOPPING] = {stop_now, STOPPING},
                     [PAUSED] = {give_up, DONE},
                     [PAUSED_BUSY] = {hurry, STOPPING},
                     [LINGERING] = {nothing, DONE}},
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

void react(struct init *init, enum event event, int signo)
{
    const struct reaction *reaction = init->attach.is_on ? &attached_reactions[event][init->doing]
                                                         : &reactions[event][init->doing];

    if (!reaction->act)
        return;
    init->doing = reaction->next;
    reaction->act(init, signo);
}
