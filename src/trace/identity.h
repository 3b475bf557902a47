#pragma once

/* Being another user for a moment: what the kernel asks of whoever looks at a process. */

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

/*
 * Takes on a process's user and group as file system ids (credentials(7)), which is what /proc/PID
 * asks for: root without CAP_SYS_PTRACE is a stranger to a program that gosu(1) or setpriv(1)
 * started. identity_be_oneself() is due afterwards.
 */
void identity_be_like(pid_t pid);

void identity_be_oneself(void);

/*
 * Does what a process's owner may do to it (ptrace(2), prlimit(2)): as oneself, and where that is
 * refused with -EPERM, with the real user and group of the process. Root can, without the
 * capability that would do instead.
 *
 * Returns what @action returned last, or -errno.
 */
int identity_as_owner(pid_t pid, int (*action)(pid_t pid, const void *argument),
                      const void *argument);

/* What identity_trace_like() changed. */
struct identity {
    uid_t uid;
    gid_t gid;
};

/*
 * Takes on a process's user and group as real ids, which is what beginning to trace it asks for
 * (PTRACE_SEIZE, ptrace(2)), where CAP_SYS_PTRACE is lacking. identity_return() is due afterwards.
 */
void identity_trace_like(pid_t pid, struct identity *ret_own);

/* Returns 0 or -errno. */
int identity_return(const struct identity *own);

/*
 * Sets the core limit of a process, as its own user where CAP_SYS_RESOURCE is lacking (prlimit(2)).
 *
 * Returns 0 or -errno.
 */
int identity_set_core_limit(pid_t pid, const struct rlimit *limit);

/* Yama's ptrace_scope, 0 to 3 (Documentation/admin-guide/LSM/Yama.rst); -1: there is no Yama. */
int identity_yama_scope(void);

/* Whether CAP_SYS_PTRACE is effective: whoever has it may trace any user's processes. */
bool identity_may_trace_all(void);

/*
 * Becomes the user of a process for good, where root lacks CAP_SYS_PTRACE and the process is
 * another user's: as that user it may trace it (ptrace(2)). Does nothing otherwise.
 *
 * Returns 0 or -errno.
 */
int identity_become_owner(pid_t pid);
