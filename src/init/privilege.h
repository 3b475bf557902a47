#pragma once

/* CAP_SYS_PTRACE and Yama: so that `gdb -p` works from `docker exec` and the collector may read. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/capability.h>

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
