#include "capture/process_clone.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace/holding.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1u << 1) /* linux/close_range.h, Linux 5.9 */
#endif

/* Threads that are tried: a signal may come to each. */
#define MOST_TRIES 8

#define FIRST_TO_DIE 1000 /* /proc/PID/oom_score_adj */

/* A call for any thread of a process that can make it. */
struct attempt {
    const struct injected_call *call;
    long result;
    pid_t clone;
};

/* Tries threads until one has made the call. Those that sleep come first. */
static int try_threads(const struct call_site *site, pid_t pid, bool sleeping, int *tries,
                       struct attempt *attempt)
{
    struct pid_reader threads;
    int r = -EBUSY;
    pid_t tid;

    if (pid_reader_open_threads(&threads, pid) == 0)
        while (*tries < MOST_TRIES && (tid = pid_reader_next(&threads))) {
            bool sleeps = false;
            int possible = injected_call_possible(site, tid, &sleeps);

            if (possible == -ENOTSUP)
                r = possible;
            if (possible < 0 || sleeps != sleeping)
                continue;
            ++*tries;
            r = injected_call_make(site, tid, attempt->call, &attempt->result,
                                   attempt->call->number == SYS_clone ? &attempt->clone : NULL);
            if (r != -EINTR && r != -ESRCH)
                break;
        }
    pid_reader_close(&threads);
    return r;
}

/* Whether a thread is on its way out of the stub of a tracer that was killed. */
static bool is_stub_in_use(const struct call_site *site, pid_t pid)
{
    struct pid_reader threads;
    bool is_in_use = false, sleeps;
    pid_t tid;

    if (pid_reader_open_threads(&threads, pid) == 0)
        while ((tid = pid_reader_next(&threads)))
            is_in_use |= injected_call_possible(site, tid, &sleeps) == -ESTALE;
    pid_reader_close(&threads);
    return is_in_use;
}

static int call_in_process(const struct call_site *site, pid_t pid, struct attempt *attempt)
{
    int tries = 0, r;

    if (is_stub_in_use(site, pid))
        return -ESTALE;
    r = try_threads(site, pid, true, &tries, attempt);

    return r == -EBUSY || r == -EINTR || r == -ESRCH
               ? try_threads(site, pid, false, &tries, attempt)
               : r;
}

/* Its files are shared with the process, so that closing one there closes it; but should the
 * process end, its ports have to be free. */
static int leave_files(const struct process_clone *clone)
{
    static const struct injected_call close_all = {SYS_close_range,
                                                   {0, ~0u, CLOSE_RANGE_UNSHARE, 0}};
    long result = 0;
    int r = injected_call_make_in_clone(&clone->site, clone->pid, &close_all, &result);

    return r < 0 ? r : (int)result;
}

static void volunteer_for_oom(pid_t pid)
{
    char path[48], text[16];
    _cleanup_close_ int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    snprintf(text, sizeof(text), "%d", FIRST_TO_DIE);
    if (fd < 0 || write_text(fd, text) < 0)
        log_info("the copy of the process (pid %d) can't be made the first to die where memory is "
                 "short",
                 pid);
}

int process_clone_make(pid_t pid, struct process_clone *ret, char *why, size_t why_size)
{
    static const struct injected_call clone_call = {SYS_clone, {CLONE_FILES, 0, 0, 0}};
    struct attempt attempt = {.call = &clone_call};
    int r;

    *ret = (struct process_clone){0};
    r = call_site_find(holding_stopped_thread(pid), &ret->site);
    if (r < 0) {
        snprintf(why, why_size, "no place for a system call in it: %s",
                 r == -ENOTSUP ? "not on this machine" : strerrordesc_np(-r));
        return r;
    }
    r = call_in_process(&ret->site, pid, &attempt);
    if (r < 0 || attempt.result < 0) {
        r = r < 0 ? r : (int)attempt.result;
        snprintf(why, why_size, "clone(2) isn't possible in it: %s",
                 r == -EBUSY || r == -EINTR
                     ? "its threads are at signals or in restartable sequences"
                     : strerrordesc_np(-r));
    }
    ret->pid = attempt.clone;
    ret->own_pid = attempt.clone ? (pid_t)attempt.result : 0;
    if (r >= 0 && !ret->pid)
        r = -ESRCH;
    if (r >= 0) {
        volunteer_for_oom(ret->pid);
        r = leave_files(ret);
        if (r < 0)
            snprintf(why, why_size, "its copy can't let go of the files: %s", strerrordesc_np(-r));
    }
    if (r < 0)
        process_clone_end(ret);
    return r < 0 ? r : 0;
}

void process_clone_end(struct process_clone *clone)
{
    int status;

    if (clone->pid <= 0)
        return;
    (void)kill(clone->pid, SIGKILL);
    while (waitpid(clone->pid, &status, __WALL) == clone->pid && WIFSTOPPED(status))
        ; /* a stop that wasn't told yet */
    clone->pid = 0;
}

bool process_clone_has_ended(struct process_clone *clone)
{
    int status;

    /* Stops of a tracee are told too. */
    if (clone->pid <= 0 || waitpid(clone->pid, &status, WNOHANG | __WALL) <= 0 ||
        WIFSTOPPED(status))
        return false;
    clone->pid = 0;
    return true;
}

/*
 * The number of a process in the pid namespace that it is in, or 0.
 *
 * @ret_depth  of that namespace, from ours
 */
static pid_t read_own_pid(pid_t pid, int *ret_depth)
{
    char path[32], status[4096], *end;
    const char *numbers;
    pid_t own_pid = 0;

    *ret_depth = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    if (read_text_at(AT_FDCWD, path, status, sizeof(status)) < 0)
        return 0;
    for (numbers = proc_line(status, "NSpid:"); numbers && *numbers == '\t'; numbers = end) {
        own_pid = (pid_t)strtol(numbers, &end, 10);
        ++*ret_depth;
    }
    return own_pid;
}

static long number_of(const char *stat, unsigned field)
{
    const char *text = proc_stat_field(stat, field);

    return text ? strtol(text, NULL, 10) : -1;
}

/* It ended by itself, or was killed when it was one of the first to die. */
static bool is_dead_clone(pid_t pid, pid_t parent)
{
    char path[48], stat[1024], adjustment[16];
    const char *state;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_text_at(AT_FDCWD, path, stat, sizeof(stat)) < 0)
        return false;
    state = proc_stat_field(stat, PROC_STAT_STATE);
    if (!state || *state != 'Z' || number_of(stat, PROC_STAT_PPID) != parent ||
        number_of(stat, PROC_STAT_EXIT_SIGNAL) != 0)
        return false;
    if (number_of(stat, PROC_STAT_EXIT_CODE) == INJECTED_CLONE_STATUS << 8)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    return read_text_at(AT_FDCWD, path, adjustment, sizeof(adjustment)) > 0 &&
           atoi(adjustment) == FIRST_TO_DIE;
}

size_t process_clone_find_dead(pid_t pid, pid_t *ret, size_t most)
{
    struct pid_reader processes;
    int depth, its_depth;
    size_t n = 0;
    pid_t child;

    if (read_own_pid(pid, &depth) == 0)
        return 0;
    if (pid_reader_open(&processes, "/proc") == 0)
        while (n < most && (child = pid_reader_next(&processes)))
            if (is_dead_clone(child, pid)) {
                ret[n] = read_own_pid(child, &its_depth);
                n += ret[n] > 0 && its_depth == depth;
            }
    pid_reader_close(&processes);
    return n;
}

static int reap(pid_t pid, const struct call_site *site, pid_t own_pid)
{
    const struct injected_call wait_call = {SYS_wait4,
                                            {(unsigned long)own_pid, 0, __WALL | WNOHANG, 0}};
    struct attempt attempt = {.call = &wait_call};
    int r = call_in_process(site, pid, &attempt);

    if (r < 0 || attempt.result >= 0)
        return r;
    return attempt.result == -ECHILD ? 0 : (int)attempt.result;
}

int process_clone_bury(pid_t pid, const struct process_clone *clone, const pid_t *dead,
                       size_t n_dead)
{
    int r = clone->own_pid > 0 ? reap(pid, &clone->site, clone->own_pid) : 0;

    for (size_t i = 0; r == 0 && i < n_dead; i++)
        if (dead[i] != clone->own_pid)
            r = reap(pid, &clone->site, dead[i]);
    return r;
}
