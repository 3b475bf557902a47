#include "trace/holding.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trace/identity.h"
#include "trace/thread_notes.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/pid_reader.h"

#define STOP_PATIENCE_MS 500
#define FIRST_PAUSE_US 50
#define LAST_PAUSE_US 5000

/* A gigabyte of registers helps nobody; kernel.threads-max is about this on small machines. */
#define MOST_THREADS 32768

/* ptrace(2) answers only while the tracee is in a stop of ours. */
static bool is_stopped(pid_t tid)
{
    unsigned long message;

    return ptrace(PTRACE_GETEVENTMSG, tid, 0, &message) == 0;
}

pid_t holding_stopped_thread(pid_t pid)
{
    struct pid_reader threads;
    pid_t tid, found = is_stopped(pid) ? pid : 0;

    if (!found && pid_reader_open_threads(&threads, pid) == 0) {
        while (!found && (tid = pid_reader_next(&threads)))
            if (is_stopped(tid))
                found = tid;
        pid_reader_close(&threads);
    }
    return found;
}

/* Whether a thread has ended. It is reaped then: execve(2) in another one waits for that. */
static bool has_ended(pid_t tid, pid_t pid)
{
    siginfo_t end;

    if (!tracee_is_dead(tid))
        return false;
    if (tid != pid)
        (void)waitid(P_PID, (id_t)tid, &end, WEXITED | WNOHANG | __WALL);
    return true;
}

/* Returns how many threads still run. */
static int interrupt_threads(pid_t pid)
{
    struct pid_reader threads;
    int running = 0;
    pid_t tid;

    if (pid_reader_open_threads(&threads, pid) == 0)
        while ((tid = pid_reader_next(&threads)))
            if (!is_stopped(tid) && !has_ended(tid, pid) &&
                ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0)
                running++;
    pid_reader_close(&threads);
    return running;
}

/* Waits for threads that take a while to stop, longer each time. */
static void back_off(int *pause_us)
{
    const struct timespec pause = {.tv_nsec = *pause_us * 1000L};

    nanosleep(&pause, NULL);
    *pause_us = *pause_us * 2 < LAST_PAUSE_US ? *pause_us * 2 : LAST_PAUSE_US;
}

static int stop_threads(pid_t pid)
{
    const int64_t deadline = monotonic_ns() + STOP_PATIENCE_MS * 1000000ll;
    int pause_us = FIRST_PAUSE_US, running;

    /* Again and again: a thread may be starting another one while the rest are stopped. */
    while ((running = interrupt_threads(pid)) > 0 && monotonic_ns() < deadline)
        back_off(&pause_us);
    return running;
}

/* Returns how many threads were not traced before, or -errno. */
static int seize_threads(pid_t pid)
{
    struct pid_reader threads;
    int seized = 0, r;
    pid_t tid;

    r = pid_reader_open_threads(&threads, pid);
    while (r == 0 && (tid = pid_reader_next(&threads))) {
        if (tracee_is_ours(tid))
            continue;
        if (ptrace(PTRACE_SEIZE, tid, 0, 0) == 0)
            seized++;
        else if (errno != ESRCH && !tracee_is_dead(tid))
            r = -errno;
    }
    pid_reader_close(&threads);
    return r < 0 ? r : seized;
}

int holding_seize(pid_t pid)
{
    const int64_t deadline = monotonic_ns() + STOP_PATIENCE_MS * 1000000ll;
    int pause_us = FIRST_PAUSE_US, running = 0, seized, quiet = 0;

    /* Twice nothing new: a thread may have been made behind the back of a look. */
    while (quiet < 2 && monotonic_ns() < deadline) {
        seized = seize_threads(pid);
        if (seized < 0) {
            (void)holding_detach(pid);
            return seized;
        }
        running = interrupt_threads(pid);
        quiet = seized == 0 && running == 0 ? quiet + 1 : 0;
        if (running > 0)
            back_off(&pause_us);
    }
    return running;
}

static void tell_running(pid_t pid, int running)
{
    if (running > 0)
        log_warning("%d threads of pid %d can't be stopped (uninterruptible sleep, or waiting for "
                    "a vfork child): the core is without them",
                    running, pid);
}

int holding_stop(pid_t pid, pid_t tid, const siginfo_t *siginfo, int *ret_notes)
{
    tell_running(pid, stop_threads(pid));
    return holding_save(pid, tid, siginfo, ret_notes);
}

int holding_save(pid_t pid, pid_t tid, const siginfo_t *siginfo, int *ret_notes)
{
    _cleanup_close_ int notes = memfd_create("threads", MFD_CLOEXEC);
    struct pid_reader threads;
    int saved = 0, r;
    pid_t other;

    *ret_notes = -1;
    if (notes < 0)
        return -errno;
    r = thread_notes_save(tid, siginfo, notes);
    if (r < 0)
        return r;
    saved++;
    r = pid_reader_open_threads(&threads, pid);
    while (r == 0 && saved < MOST_THREADS && (other = pid_reader_next(&threads))) {
        if (other == tid || !is_stopped(other))
            continue;
        r = thread_notes_save(other, NULL, notes);
        saved += r == 0;
        if (r == -ESRCH)
            r = 0;
    }
    pid_reader_close(&threads);
    if (r < 0)
        return r;
    *ret_notes = take_fd(&notes);
    return saved;
}

/* Returns the signal that a stopped thread is to go on with. */
static int signal_of_stop(pid_t tid)
{
    siginfo_t stop = {0};

    if (waitid(P_PID, (id_t)tid, &stop, WSTOPPED | WNOHANG | __WALL) < 0 ||
        stop.si_code != CLD_TRAPPED)
        return 0;
    return stop.si_status >> 8 ? 0 : stop.si_status; /* an event's stop has no signal */
}

/* Returns how many threads were let go or still run: new ones may be about. */
static int detach_threads(pid_t pid, int *ret_running)
{
    struct pid_reader threads;
    int detached = 0;
    pid_t tid;

    *ret_running = 0;
    if (pid_reader_open_threads(&threads, pid) == 0)
        while ((tid = pid_reader_next(&threads))) {
            if (is_stopped(tid) && ptrace(PTRACE_DETACH, tid, 0, (long)signal_of_stop(tid)) == 0)
                detached++;
            else if (!has_ended(tid, pid) && ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0)
                ++*ret_running;
        }
    pid_reader_close(&threads);
    return detached + *ret_running;
}

int holding_detach_stopped(pid_t pid)
{
    int running;

    while (detach_threads(pid, &running) > running)
        ;
    return running;
}

int holding_detach(pid_t pid)
{
    const int64_t deadline = monotonic_ns() + STOP_PATIENCE_MS * 1000000ll;
    int pause_us = FIRST_PAUSE_US, running;

    while (detach_threads(pid, &running) > 0 && monotonic_ns() < deadline)
        if (running > 0)
            back_off(&pause_us);
    return running;
}

/* Less than the smallest core, so that no file is written; and 1 is what the kernel takes as "no
 * pipe either" (fs/coredump.c). */
void holding_forbid_core(pid_t pid)
{
    static const struct rlimit most = {1, 1}, none = {0, 0};

    /* A hard limit of 0 can't be raised to 1. */
    if (identity_set_core_limit(pid, &most) < 0 && identity_set_core_limit(pid, &none) < 0)
        log_info("the core limit of pid %d can't be lowered: the kernel may write a core too", pid);
}

void holding_pass(pid_t tid, int signo, bool is_init)
{
    /* ESRCH: SIGKILL was quicker. */
    if (ptrace(is_init ? PTRACE_DETACH : PTRACE_CONT, tid, 0, (long)signo) < 0 && errno != ESRCH)
        log_warning("cannot let thread %d go: %s", tid, strerrordesc_np(errno));
}
