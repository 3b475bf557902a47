#include "init/holding.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

#include "init/privilege.h"
#include "init/thread_notes.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#define STOP_PATIENCE_MS 500
#define FIRST_PAUSE_US 50
#define LAST_PAUSE_US 5000

/* A gigabyte of registers helps nobody; kernel.threads-max is about this on small machines. */
#define MOST_THREADS 32768

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int open_threads(struct pid_reader *threads, pid_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    return pid_reader_open(threads, path);
}

/* ptrace(2) answers only while the tracee is in a stop of ours. */
static bool is_stopped(pid_t tid)
{
    unsigned long message;

    return ptrace(PTRACE_GETEVENTMSG, tid, 0, &message) == 0;
}

/* A leader that has exited stays as a zombie until its last thread ends. */
static bool is_dead(pid_t pid, pid_t tid)
{
    char path[48], stat[512];
    const char *state;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    if (read_text_at(AT_FDCWD, path, stat, sizeof(stat)) < 0)
        return true;
    state = proc_stat_field(stat, PROC_STAT_STATE);
    return !state || *state == 'Z' || *state == 'X';
}

/* Returns how many threads still run. */
static int interrupt_threads(pid_t pid)
{
    struct pid_reader threads;
    int running = 0;
    pid_t tid;

    if (open_threads(&threads, pid) == 0)
        while ((tid = pid_reader_next(&threads)))
            if (!is_stopped(tid) && !is_dead(pid, tid) && ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0)
                running++;
    pid_reader_close(&threads);
    return running;
}

static int stop_threads(pid_t pid)
{
    const int64_t deadline = now_us() + STOP_PATIENCE_MS * 1000;
    int pause_us = FIRST_PAUSE_US, running;

    /* Again and again: a thread may be starting another one while the rest are stopped. */
    while ((running = interrupt_threads(pid)) > 0 && now_us() < deadline) {
        const struct timespec pause = {.tv_nsec = pause_us * 1000L};

        nanosleep(&pause, NULL);
        pause_us = pause_us * 2 < LAST_PAUSE_US ? pause_us * 2 : LAST_PAUSE_US;
    }
    return running;
}

int holding_stop(pid_t pid, pid_t tid, const siginfo_t *siginfo, int *ret_notes)
{
    _cleanup_close_ int notes = memfd_create("threads", MFD_CLOEXEC);
    struct pid_reader threads;
    int saved = 0, running, r;
    pid_t other;

    *ret_notes = -1;
    if (notes < 0)
        return -errno;
    running = stop_threads(pid);
    if (running > 0)
        log_warning("%d threads of pid %d can't be stopped (uninterruptible sleep, or waiting for "
                    "a vfork child): the core is without them",
                    running, pid);
    r = thread_notes_save(tid, siginfo, notes);
    if (r < 0)
        return r;
    saved++;
    r = open_threads(&threads, pid);
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

/* Less than the smallest core, so that no file is written; and 1 is what the kernel takes as "no
 * pipe either" (fs/coredump.c). */
void holding_forbid_core(pid_t pid)
{
    static const struct rlimit most = {1, 1}, none = {0, 0};

    /* A hard limit of 0 can't be raised to 1. */
    if (privilege_set_core_limit(pid, &most) < 0 && privilege_set_core_limit(pid, &none) < 0)
        log_info("the core limit of pid %d can't be lowered: the kernel may write a core too", pid);
}

void holding_pass(pid_t tid, int signo, bool is_init)
{
    /* ESRCH: SIGKILL was quicker. */
    if (ptrace(is_init ? PTRACE_DETACH : PTRACE_CONT, tid, 0, (long)signo) < 0 && errno != ESRCH)
        log_warning("cannot let thread %d go: %s", tid, strerrordesc_np(errno));
}
