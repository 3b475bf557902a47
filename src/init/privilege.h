#pragma once

/* CAP_SYS_PTRACE and Yama: so that `gdb -p` works from `docker exec` and the collector may read. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Whether this process may use a capability right now. */
bool privilege_has(cap_value_t capability);

/*
 * Makes CAP_SYS_PTRACE usable for the program and its children where this process may hold it:
 * root's children get it by execve(2) from the bounding set; for any other uid it is made
 * inheritable and ambient (capabilities(7)). No other capability changes.
 *
 * @why  where it can't be had: the reason and the mend, for one log line
 *
 * Returns 0 or -EPERM with @why.
 */
int privilege_share_ptrace(char *why, size_t why_size);

/*
 * Lets any process of the same user trace the caller (PR_SET_PTRACER, for Yama's ptrace_scope 1).
 * It survives execve(2) but isn't inherited, so the program itself has to call it before its
 * execve. Without Yama it does nothing.
 */
void privilege_allow_tracers(void);

/*
 * Takes on a process's user and group as file system ids (credentials(7)), which is what /proc/PID
 * asks for: root without CAP_SYS_PTRACE is a stranger to a program that gosu(1) or setpriv(1)
 * started. privilege_be_oneself() is due afterwards.
 */
void privilege_be_like(pid_t pid);

void privilege_be_oneself(void);

/*
 * Sets the core limit of a process, as its own user where CAP_SYS_RESOURCE is lacking (prlimit(2)).
 *
 * Returns 0 or -errno.
 */
int privilege_set_core_limit(pid_t pid, const struct rlimit *limit);
