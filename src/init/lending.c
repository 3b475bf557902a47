#include "init/lending.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace/holding.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/pid_reader.h"

static struct lent *find(struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; i < MOST_LENT; i++)
        if (tracer->lent[i].pid == pid)
            return &tracer->lent[i];
    return NULL;
}

static void forget(struct lent *lent)
{
    close_fd(lent->fd);
    close_fd(lent->borrower_fd);
    *lent = (struct lent){.fd = -1, .borrower_fd = -1};
}

/* Linux 5.3; readable once the process has ended (pidfd_open(2)). */
static int open_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    return fd < 0 ? -errno : fd;
}

static bool has_ended(int pidfd)
{
    struct pollfd end = {.fd = pidfd, .events = POLLIN};

    return poll(&end, 1, 0) > 0;
}

static void lend(struct tracer *tracer, const struct request *request)
{
    struct lent *lent = find(tracer, 0);
    int running, pid_fd, fd;

    if (request->pid <= 0 || tracee_process(request->pid, NULL) != request->pid ||
        !tracee_has_thread_of_ours(request->pid) || tracer_holds(tracer, request->pid)) {
        log_warning("pid %d asked for pid %d, which coreinit doesn't trace, or holds for its crash",
                    request->sender, request->pid);
        return;
    }
    if (!lent) {
        log_warning("pid %d asked for pid %d, but %d processes are lent already", request->sender,
                    request->pid, MOST_LENT);
        return;
    }
    fd = request->sender ? open_pidfd(request->sender) : -ESRCH;
    if (fd < 0) {
        log_warning("pid %d is not lent: whoever asked can't be watched (%s); it has to run in "
                    "coreinit's pid namespace",
                    request->pid, strerrordesc_np(-fd));
        return;
    }
    pid_fd = open_pidfd(request->pid);
    if (pid_fd < 0) {
        close_fd(fd);
        log_warning("pid %d is not lent: it can't be watched (%s)", request->pid,
                    strerrordesc_np(-pid_fd));
        return;
    }
    *lent = (struct lent){request->pid, pid_fd, request->sender, fd};
    /* What runs is let go at its next stop: to wait for that here would be to wait for one who may
     * wait for us, as the parent of a vfork(2) child does that is stopped itself. */
    running = holding_detach_stopped(request->pid);
    log_debug("%d threads of pid %d are still to be let go", running, request->pid);
    log_notice("pid %d is lent to pid %d, which asked for it: until it is back its crash is the "
               "kernel's to capture",
               lent->pid, lent->borrower);
}

/* It ended while it was lent: its number may be a stranger's by now. A child's end is told yet, and
 * until then it is lent, so that its crash is known for one (lending_forget()). */
static void see_ended(struct lent *lent)
{
    log_debug("pid %d ended while it was lent", lent->pid);
    if (tracee_parent(lent->pid) != getpid()) {
        forget(lent);
        return;
    }
    close_fd(lent->borrower_fd);
    lent->borrower_fd = -1;
}

/* Another one that traces a thread of a process; 0: none. */
static pid_t find_other_tracer(pid_t pid)
{
    struct pid_reader threads;
    pid_t tid, other = 0;

    if (pid_reader_open_threads(&threads, pid) == 0)
        while (other == 0 && (tid = pid_reader_next(&threads))) {
            other = tracee_process(tracee_tracer(tid), NULL); /* a thread of it traces */
            if (other == getpid())
                other = 0;
        }
    pid_reader_close(&threads);
    return other;
}

/* Traces a process again, or where another one does, waits for that one's end. */
static void take_back(struct tracer *tracer, struct lent *lent)
{
    const pid_t pid = lent->pid;
    pid_t other;
    int r;

    if (has_ended(lent->fd)) {
        see_ended(lent);
        return;
    }
    r = tracer_seize_all(tracer, pid);
    other = r < 0 ? find_other_tracer(pid) : 0;
    if (r < 0 && !other) /* it is gone since */
        r = tracer_seize_all(tracer, pid);
    if (other) {
        int fd = open_pidfd(other);

        if (fd >= 0) {
            close_fd(lent->borrower_fd);
            lent->borrower = other;
            lent->borrower_fd = fd;
            log_notice("pid %d is traced by pid %d: coreinit waits for its end", pid, other);
            return;
        }
    }
    if (r < 0)
        log_warning("pid %d can't be traced again (%s): its crash is the kernel's to capture", pid,
                    strerrordesc_np(-r));
    else
        log_notice("pid %d is traced by coreinit again", pid);
    forget(lent);
}

void lending_see_request(struct tracer *tracer, const struct request *request)
{
    struct lent *lent = request->pid > 0 ? find(tracer, request->pid) : NULL;

    if (request->kind == REQUEST_LET_GO && lent && lent->borrower == request->sender)
        return;
    if (request->kind == REQUEST_LET_GO)
        lend(tracer, request);
    else if (lent && lent->borrower == request->sender)
        take_back(tracer, lent);
}

nfds_t lending_poll(const struct tracer *tracer, struct pollfd *ret)
{
    nfds_t n = 0;

    for (size_t i = 0; i < MOST_LENT; i++)
        if (tracer->lent[i].pid)
            ret[n++] = (struct pollfd){.fd = tracer->lent[i].borrower_fd, .events = POLLIN};
    return n;
}

void lending_see_ends(struct tracer *tracer)
{
    for (size_t i = 0; i < MOST_LENT; i++)
        if (tracer->lent[i].pid && has_ended(tracer->lent[i].borrower_fd))
            take_back(tracer, &tracer->lent[i]);
}

bool lending_has_thread(const struct tracer *tracer, pid_t tid)
{
    for (size_t i = 0; i < MOST_LENT; i++)
        if (tracer->lent[i].pid)
            return lending_has(tracer, tracee_process(tid, NULL));
    return false;
}

bool lending_has(const struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; pid && i < MOST_LENT; i++)
        if (tracer->lent[i].pid == pid)
            return true;
    return false;
}

void lending_forget(struct tracer *tracer, pid_t pid)
{
    struct lent *lent = pid > 0 ? find(tracer, pid) : NULL;

    if (lent)
        forget(lent);
}
