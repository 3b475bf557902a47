#pragma once

/*
 * What a process may ask of the coreinit that traces another: to let that go for a while, so that a
 * debugger or a snapshot can have it. A request is a queued signal (sigqueue(3)): it needs no file,
 * no socket and no common network or mount namespace, and the kernel says who may send it and who
 * did. Signals that aren't queued, or carry something else, are the program's as ever.
 */

#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/types.h>

enum request_kind {
    REQUEST_LET_GO = 1, /* stop tracing a process, until its sender says so or ends */
    REQUEST_TAKE_BACK,  /* trace it again */
};

struct request {
    enum request_kind kind;
    pid_t pid;    /* the process it is about; both in the pid namespace of the receiver */
    pid_t sender; /* 0: of another pid namespace, and not to be seen */
};

/*
 * Sends a request to a coreinit of the own pid namespace.
 *
 * Returns 0, -EPERM (neither its user nor CAP_KILL), -ESRCH, or -EAGAIN (too many signals are
 * queued).
 */
int request_send(pid_t coreinit, enum request_kind kind, pid_t pid);

/* Returns whether a signal is a request. */
bool request_read(const struct signalfd_siginfo *signal, struct request *ret);
