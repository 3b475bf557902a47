#include "ctl/target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "trace/named.h"
#include "trace/request.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/io.h"
#include "util/log.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#define LET_GO_PATIENCE_MS 2000

/* Of several processes of a name, so many are listed. */
#define MOST_LISTED 8

static bool read_status(pid_t pid, char *ret, size_t size)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    return read_text_at(AT_FDCWD, path, ret, size) >= 0;
}

/*
 * A coreinit blocks every signal, and reads them (signalfd(2)); a name alone may be anyone's. What
 * is sent to a process that blocks it does no harm.
 */
static bool is_coreinit(pid_t pid)
{
    static const char *const names[] = {"coreinit", "docker-init"};
    char status[4096];
    const char *blocked;
    bool has_name = pid == 1;

    if (pid <= 0 || !read_status(pid, status, sizeof(status)))
        return false;
    blocked = proc_line(status, "SigBlk:");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        has_name |= named_is(pid, names[i]);
    /* All but SIGKILL, SIGSTOP and the two that libc keeps for itself. */
    return has_name && blocked && (~strtoull(blocked, NULL, 16) & ~0x180040100ull) == 0;
}

/* The first of the children or tracees of a coreinit that isn't its collector. */
static pid_t program_of(pid_t coreinit)
{
    struct pid_reader processes;
    pid_t pid, found = 0;

    if (pid_reader_open(&processes, "/proc") == 0)
        while ((pid = pid_reader_next(&processes)))
            if (!found && !tracee_has_ended(pid) && !named_is(pid, "corectl") &&
                (tracee_parent(pid) == coreinit || tracee_tracer(pid) == coreinit))
                found = pid;
    pid_reader_close(&processes);
    return found;
}

pid_t target_coreinit(bool *ret_is_only)
{
    struct pid_reader processes;
    pid_t pid, coreinit = 0;

    *ret_is_only = true;
    if (pid_reader_open(&processes, "/proc") == 0)
        while ((pid = pid_reader_next(&processes)))
            if (is_coreinit(pid)) {
                *ret_is_only &= !coreinit;
                coreinit = pid;
            }
    pid_reader_close(&processes);
    return coreinit;
}

/* The program of the only coreinit that there is. */
static int find_program(pid_t *ret)
{
    bool is_only;
    const pid_t coreinit = target_coreinit(&is_only);

    if (!coreinit) {
        log_error("no coreinit runs here: say which process is meant, by PID or --name NAME");
        return -ESRCH;
    }
    if (!is_only) {
        log_error("several coreinits run here: say which process is meant, by PID or --name NAME");
        return -EEXIST;
    }
    *ret = program_of(coreinit);
    if (*ret)
        return 0;
    log_error("coreinit (pid %d) has no program now", coreinit);
    return -ECHILD;
}

static int find_by_name(const char *name, pid_t *ret)
{
    pid_t pids[MOST_LISTED];
    size_t n = named_find(name, pids, MOST_LISTED);

    if (n == 0) {
        log_error("no process is called '%s'; one of another container is seen only where the pid "
                  "namespace is shared",
                  name);
        return -ESRCH;
    }
    if (n > 1) {
        log_error("%zu processes are called '%s': say which is meant by its pid", n, name);
        for (size_t i = 0; i < n && i < MOST_LISTED; i++)
            log_error("  pid %d", pids[i]);
        return -EEXIST;
    }
    *ret = pids[0];
    return 0;
}

static void find_coreinit(struct target *target)
{
    const pid_t tracer = tracee_tracer(target->pid);
    pid_t ancestor = target->pid;

    target->is_traced = is_coreinit(tracer);
    if (target->is_traced) {
        target->coreinit = tracer;
        return;
    }
    target->other_tracer = tracer;
    for (int i = 0; i < MOST_GENERATIONS && (ancestor = tracee_parent(ancestor)) > 0; i++)
        if (is_coreinit(ancestor)) {
            target->coreinit = ancestor;
            return;
        }
}

bool target_read_pid(const char *text, pid_t *ret)
{
    char *end;
    long number = strtol(text, &end, 10);

    *ret = (pid_t)number;
    if (text[0] >= '0' && text[0] <= '9' && !*end && number > 0 && number <= INT_MAX)
        return true;
    log_error("'%s' is no pid; a name goes behind --name", text);
    return false;
}

int target_find(pid_t pid, const char *name, struct target *ret)
{
    int r = 0;

    *ret = (struct target){0};
    if (!pid)
        r = name ? find_by_name(name, &pid) : find_program(&pid);
    if (r < 0)
        return r;
    ret->pid = tracee_process(pid, NULL);
    if (!ret->pid || tracee_has_ended(ret->pid)) {
        log_error("there is no process %d, or it has ended", pid);
        return -ESRCH;
    }
    named_read(ret->pid, ret->name, sizeof(ret->name));
    find_coreinit(ret);
    return 0;
}

static bool is_let_go(const struct target *target)
{
    struct pid_reader threads;
    bool is_free = true;
    pid_t tid;

    if (pid_reader_open_threads(&threads, target->pid) == 0)
        while ((tid = pid_reader_next(&threads)))
            is_free &= tracee_tracer(tid) != target->coreinit;
    pid_reader_close(&threads);
    return is_free;
}

static int wait_until_let_go(const struct target *target)
{
    const int64_t deadline = monotonic_ns() + LET_GO_PATIENCE_MS * 1000000ll;
    const struct timespec pause = {.tv_nsec = 200000};

    while (!is_let_go(target)) {
        if (monotonic_ns() > deadline)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int target_take(const struct target *target)
{
    char name[256];
    int r;

    if (target->other_tracer) {
        named_read(target->other_tracer, name, sizeof(name));
        log_error("pid %d is traced by %s (pid %d), and a process has one tracer at most: end that "
                  "one first",
                  target->pid, name, target->other_tracer);
        return -EBUSY;
    }
    if (!target->is_traced)
        return 0;
    if (!tracee_shares_namespace(target->coreinit)) {
        log_error(
            "pid %d is traced by a coreinit of another pid namespace: run corectl there, e.g. "
            "by docker exec",
            target->pid);
        return -EPERM;
    }
    r = request_send(target->coreinit, REQUEST_LET_GO, target->pid);
    if (r == -EPERM) {
        log_error("pid %d is traced by coreinit (pid %d), which this user may not ask to let it "
                  "go: be root, or its user",
                  target->pid, target->coreinit);
        return r;
    }
    if (r < 0)
        return log_errno(r, "coreinit (pid %d) can't be asked to let pid %d go", target->coreinit,
                         target->pid);
    r = wait_until_let_go(target);
    if (r < 0)
        log_error("coreinit (pid %d) doesn't let pid %d go: its log says why", target->coreinit,
                  target->pid);
    return r;
}

void target_give_back(const struct target *target)
{
    if (target->is_traced)
        (void)request_send(target->coreinit, REQUEST_TAKE_BACK, target->pid);
}
