#include "init/crash_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init/signals.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

void queue_close(struct crash_record *record)
{
    close_fd(record->exe_fd);
    close_fd(record->maps_fd);
    close_fd(record->root_fd);
    close_fd(record->threads_fd);
    kept_close(record);
}

/* Of the program's crashes in an hour. */
#define FULL_BUNDLES 3

static void read_proc(pid_t pid, const char *name, char *ret, size_t size)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    if (read_text_at(AT_FDCWD, path, ret, size) < 0)
        ret[0] = '\0';
}

static const char *who_is(const struct init *init, pid_t pid)
{
    return pid == init->program ? "the program" : "a process";
}

void queue_say_end(const struct init *init, const siginfo_t *end, bool is_oom)
{
    char text[24], name[64];

    read_proc(end->si_pid, "comm", name, sizeof(name));
    signal_text(end->si_status, text, sizeof(text));
    log_error("%s, %s (pid %d), was killed by %s%s", who_is(init, end->si_pid), name, end->si_pid,
              text,
              is_oom                       ? ", by the kernel for want of memory"
              : end->si_code == CLD_DUMPED ? " (core dumped)"
                                           : "");
}

static void say_held(const struct init *init, const struct fatal_stop *stop)
{
    char text[24], name[64];

    read_proc(stop->tid, "comm", name, sizeof(name));
    signal_text(stop->siginfo.si_signo, text, sizeof(text));
    log_error("%s (pid %d) is at a fatal %s in thread %d, %s: it is held while its core is read",
              who_is(init, stop->pid), stop->pid, text, stop->tid, name);
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
        tracer_let_go(&init->tracer, lost, false);
        queue_close(last);
    }
    log_error("the crash of pid %d is not collected: %d others wait already", lost, MAX_WAITING);
    return pid == init->program;
}

/* In a loop the first bundles tell all that the later ones would. */
static void count_crash(const struct init *init, struct crash_record *record)
{
    if (!record->is_program)
        return;
    record->n_crashes = restarts_of_last_hour(&init->restarts, monotonic_ms()) + 1;
    record->is_brief = record->n_crashes > FULL_BUNDLES;
    record->is_report = init->options->reports_exits;
}

/* Begins a record at the end of the queue; it is in the queue once n_waiting counts it. */
static struct crash_record *new_record(struct init *init, pid_t pid)
{
    struct crash_record *record;

    if (!make_room(init, pid))
        return NULL;
    record = &init->waiting[init->n_waiting];
    memset(record, 0, sizeof(*record));
    record->magic = CRASH_RECORD_MAGIC;
    record->version = CRASH_RECORD_VERSION;
    record->size = sizeof(*record);
    record->pid = pid;
    record->is_program = pid == init->program;
    record->exe_fd = record->root_fd = record->maps_fd = -1;
    record->mem_fd = record->smaps_fd = record->pagemap_fd = -1;
    record->threads_fd = record->release_fd = -1;
    clock_gettime(CLOCK_REALTIME, &record->ended_realtime);
    clock_gettime(CLOCK_BOOTTIME, &record->ended_boottime);
    record->ordinal = number_in_second(init, record->ended_realtime.tv_sec);
    record->attempt = 1;
    record->n_restarts = init->restarts.n;
    record->was_asked_to_stop = stopping_is_asked(&init->stopping, monotonic_ms());
    oom_testify(&init->oom, record);
    count_crash(init, record);
    read_proc(pid, "stat", record->stat, sizeof(record->stat));
    read_proc(pid, "status", record->status, sizeof(record->status));
    read_proc(pid, "limits", record->limits, sizeof(record->limits));
    strcpy(record->capture_mode, init->mode->name);
    strcpy(record->capture_why, init->mode->why);
    record->settings = init->options->settings;
    return record;
}

bool queue_ended(struct init *init, const siginfo_t *end, bool is_crash)
{
    /* The word of a shell, whose own end is no crash. */
    const bool of_child = is_crash && end->si_code == CLD_EXITED;
    struct crash_record *record = new_record(init, end->si_pid);

    if (!record)
        return false;
    record->wait_code = end->si_code;
    record->wait_status = end->si_status;
    if (!is_crash) {
        record->is_brief = true;
        record->n_crashes = 0;
    }
    witness_testify(&init->witnesses, end->si_pid, of_child, record);

    if (init->has_corectl) {
        init->n_waiting++;
        return true;
    }
    if (is_crash && !of_child)
        say_where_core_lies(init, record);
    queue_close(record);
    return false;
}

bool queue_appeared(struct init *init, int64_t until)
{
    struct crash_record *record;
    char path[PATH_MAX];

    core_watch_read(&init->watch, monotonic_ms());
    if (init->n_waiting > 0 || !core_watch_take(&init->watch, until, path, sizeof(path)))
        return false;
    record = new_record(init, 0);
    strcpy(record->appeared, path);
    record->pid = init->program;
    witness_testify(&init->witnesses, init->program, true, record);
    init->n_waiting++;
    return true;
}

bool queue_held(struct init *init, const struct fatal_stop *stop)
{
    struct crash_record *record = init->has_corectl ? new_record(init, stop->pid) : NULL;
    int r;

    if (!record)
        return false;
    record->wait_code = CLD_KILLED;
    record->wait_status = stop->siginfo.si_signo;
    r = tracer_hold(&init->tracer, stop, record);
    if (r < 0) {
        log_error("pid %d can't be held (%s): its crash is the kernel's to capture", stop->pid,
                  r == -ENOTSUP ? "it is a 32-bit process" : strerrordesc_np(-r));
        return false;
    }
    say_held(init, stop);
    witness_look_at_process(&init->witnesses, stop->pid, stop->tid);
    witness_testify(&init->witnesses, stop->pid, false, record);
    init->n_waiting++;
    return true;
}

void queue_take_first(struct init *init, struct crash_record *ret)
{
    *ret = init->waiting[0];
    init->n_waiting--;
    memmove(&init->waiting[0], &init->waiting[1], init->n_waiting * sizeof(init->waiting[0]));
}
