#pragma once

/*
 * A system call that a stopped thread of another process is made to make, as if between two of its
 * instructions. The thread is safe against the death of its tracer at every instant: what it runs
 * is a stub that ends by putting the thread back to where it was, an interrupted system call
 * included (signal(7)); and a process that the call made and nobody traces any more ends at once.
 *
 * The stub lies in the null bytes that fill the vDSO's last page, which are private to the process
 * and are erased afterwards. It touches neither the stack nor the flags.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Where the stub is in a process: all its threads, and copies of it, have it there. */
struct call_site {
    uint64_t address;
};

/* How a process ends that a call made and nobody traces any more. */
#define INJECTED_CLONE_STATUS 113

struct injected_call {
    long number;
    unsigned long arguments[4];
};

/*
 * Finds the place for the stub. A stub that is there already, of a tracer that was killed, is taken
 * over.
 *
 * @tid  is traced by the caller; every thread of its process is stopped
 *
 * Returns 0, -ENOTSUP (another machine), -ENOENT (there is no vDSO), -ENOSPC (it has no room), or
 * -errno.
 */
int call_site_find(pid_t tid, struct call_site *ret);

/*
 * Whether a thread can make a call now: it is stopped (PTRACE_INTERRUPT, ptrace(2)), runs 64-bit
 * code, and isn't in a restartable sequence (rseq(2)), which would lose its atomicity.
 *
 * @ret_sleeps  it is in a system call, where nothing can be in the way
 *
 * Returns 0 or -errno (-ESTALE: it is in the stub of a tracer that was killed).
 */
int injected_call_possible(const struct call_site *site, pid_t tid, bool *ret_sleeps);

/*
 * Makes the call, and leaves the thread stopped with the registers that it had. A signal that it
 * is stopped at afterwards is to be passed on; that stop is still to be told by wait(2).
 *
 * @ret_result  of the system call: -errno where it failed
 * @ret_clone   of clone(2): the new process, as the tracer sees it, traced and stopped before its
 * first instruction; 0 where there is none. NULL for any other call
 *
 * Returns 0, -EINTR (a signal came first: nothing was called), -ESRCH (the thread is gone),
 * -ETIMEDOUT (the call takes too long: the thread runs on in it) or -errno.
 */
int injected_call_make(const struct call_site *site, pid_t tid, const struct injected_call *call,
                       long *ret_result, pid_t *ret_clone);

/*
 * The same in a process that was made so, has run nothing and never will: it stays stopped, and
 * ends if its tracer does.
 *
 * Returns 0, -ESRCH, -ETIMEDOUT or -errno.
 */
int injected_call_make_in_clone(const struct call_site *site, pid_t clone,
                                const struct injected_call *call, long *ret_result);
