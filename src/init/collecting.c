#include "init/collecting.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init/collector.h"
#include "init/crash_queue.h"
#include "init/init.h"
#include "init/signals.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/log.h"

/* SIGKILL is waited for that long: a process in an NFS server's hands doesn't die. */
#define DEATH_MS 5000

bool collecting_is_our_end(const struct init *init)
{
    return init->collecting.record.pid == 1;
}

bool collecting_needs_core(const struct init *init)
{
    for (unsigned i = 0; i < init->n_waiting; i++)
        if (init->waiting[i].is_program)
            return true;
    return init->collecting.pid && init->collecting.record.is_program &&
           !init->collecting.is_let_go;
}

/* Lets the process die, if it is held. Where there is no core the kernel may still make one. */
static void let_go(struct init *init, bool has_core)
{
    struct collecting *collecting = &init->collecting;

    if (collecting->is_let_go)
        return;
    collecting->is_let_go = true;
    tracer_let_go(&init->tracer, collecting->record.pid, has_core);
}

void collecting_see_release(struct init *init)
{
    struct collecting *collecting = &init->collecting;
    ssize_t n;
    char word;

    if (collecting->release_fd < 0)
        return;
    n = read(collecting->release_fd, &word, sizeof(word));
    if (n < 0)
        return;
    /* Without a word the collector is about to end: whether the process is needed once more shows
     * then. */
    close_fd(take_fd(&collecting->release_fd));
    if (n > 0)
        let_go(init, word == CRASH_HAS_CORE);
}

/* Returns whether there is a collector. */
static bool start(struct init *init)
{
    struct collecting *collecting = &init->collecting;
    struct crash_record *record = &collecting->record;
    const uint32_t timeout = record->settings.collect_timeout;
    const int64_t now = monotonic_ms(), stop = stopping_deadline(&init->stopping, now);
    int ends[2] = {-1, -1};
    pid_t pid;

    if (!collecting->is_let_go && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        log_warning("pid %d is waited for until all of its crash is collected: no pipe",
                    record->pid);
    record->release_fd = ends[1];
    pid = collector_start(init->corectl, record);
    close_fd(take_fd(&record->release_fd));
    if (pid < 0) {
        close_fd(ends[0]);
        return false;
    }
    collecting->pid = pid;
    collecting->is_killed = false;
    collecting->told = INT64_MAX;
    collecting->release_fd = ends[0];
    collecting->deadline = timeout ? now + (int64_t)timeout * 1000 : INT64_MAX;
    if (record->n_restarts < init->restarts.n) /* it is about an earlier life of the program */
        collector_lower(pid);
    collecting_limit(init, stop);
    return true;
}

static void finish(struct init *init)
{
    let_go(init, false);
    queue_close(&init->collecting.record);
    init->collecting.pid = 0;
    init->collecting.deadline = INT64_MAX;
}

void collecting_begin(struct init *init)
{
    struct collecting *collecting = &init->collecting;
    struct crash_record *record = &collecting->record;

    queue_take_first(init, record);
    collecting->is_let_go = false;
    if (record->appeared[0])
        strcpy(collecting->name, "a core that appeared");
    else
        snprintf(collecting->name, sizeof(collecting->name), "the crash of pid %d", record->pid);
    if (!start(init))
        finish(init);
}

/* Of a crash whose collection failed. */
static const char *what_stays(const struct init *init, char *ret, size_t size)
{
    const char *cores_dir = init->options->settings.cores_dir;

    snprintf(ret, size, "what is whole in %s stays%s", cores_dir[0] ? cores_dir : "S3",
             init->tracer.is_on ? "" : ", and so does the kernel's core");
    return ret;
}

/* Returns whether another one is started. */
static bool see_killed(struct init *init, int signo)
{
    struct collecting *collecting = &init->collecting;
    const bool is_oom = signo == SIGKILL && oom_claims(&init->oom);
    /* One that dies of SIGTERM didn't know what it means to it, and wouldn't the next time. */
    const bool is_again =
        collecting->record.attempt == 1 && !(signo == SIGTERM && collecting->told != INT64_MAX);
    char signal[24], text[PATH_MAX + 64];

    log_error("corectl was killed by %s%s while it collected %s: %s",
              signal_text(signo, signal, sizeof(signal)), is_oom ? ", for want of memory," : "",
              collecting->name,
              is_again ? "it is started once more" : what_stays(init, text, sizeof(text)));
    collecting->record.attempt++;
    return is_again && start(init);
}

/* Whether coreinit goes on after this collection. */
static bool goes_on(const struct init *init)
{
    const struct crash_record *record = &init->collecting.record;
    const bool is_dying = record->is_held && record->is_program;

    if (stopping_is_asked(&init->stopping, monotonic_ms()))
        return false;
    if (init->attach.is_on)
        return init->attach.name[0];
    return is_dying || init->has_ended ? init->options->on_crash != ON_CRASH_EXIT : true;
}

static void see_status(struct init *init, int status)
{
    const struct collecting *collecting = &init->collecting;
    char text[PATH_MAX + 64];

    if (status == COLLECTOR_TEMPFAIL) {
        const unsigned minutes =
            goes_on(init) ? sweeper_schedule(&init->sweeper, monotonic_ms()) : 0;

        if (minutes)
            log_warning("not all of %s was sent: it is tried again in %u min", collecting->name,
                        minutes);
        else
            log_warning("not all of %s was sent: the next coreinit with this cores dir does it",
                        collecting->name);
    } else if (status != 0) {
        log_error("corectl failed with status %d over %s: %s", status, collecting->name,
                  what_stays(init, text, sizeof(text)));
    }
}

void collecting_see_end(struct init *init, const siginfo_t *end)
{
    struct collecting *collecting = &init->collecting;
    const bool was_killed = end->si_code != CLD_EXITED;

    collecting_see_release(init);
    close_fd(take_fd(&collecting->release_fd));
    if (was_killed && !collecting->is_killed && see_killed(init, end->si_status))
        return;
    if (!was_killed)
        see_status(init, end->si_status);
    finish(init);
}

void collecting_tell(struct init *init, int64_t until)
{
    struct collecting *collecting = &init->collecting;

    if (!collecting->pid || until >= collecting->told)
        return;
    collecting->told = until;
    collector_tell_deadline(collecting->pid, until - monotonic_ms());
}

void collecting_limit(struct init *init, int64_t until)
{
    if (until < init->collecting.deadline)
        init->collecting.deadline = until;
    collecting_tell(init, until);
}

void collecting_kill(struct init *init)
{
    struct collecting *collecting = &init->collecting;
    char text[PATH_MAX + 64];

    if (!collecting->pid)
        return;
    if (collecting->is_killed) {
        log_error("corectl (pid %d) doesn't die: it is left behind", collecting->pid);
        close_fd(take_fd(&collecting->release_fd));
        finish(init);
        return;
    }
    log_error("corectl is killed over %s, for its time is over: %s", collecting->name,
              what_stays(init, text, sizeof(text)));
    collecting->is_killed = true;
    collecting->deadline = monotonic_ms() + DEATH_MS;
    /* Its group, with all that it started but gdb, which dies of its parent's death; and itself,
     * should it not have made its group yet. */
    (void)kill(-collecting->pid, SIGKILL);
    (void)kill(collecting->pid, SIGKILL);
}
