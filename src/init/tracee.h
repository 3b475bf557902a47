#pragma once

/* What procfs says of a process, a tracee above all. Nothing here asks it to be stopped. */

#include <stdbool.h>
#include <sys/types.h>

/*
 * The process that a thread belongs to, or 0 where there is no telling.
 *
 * @ret_is_init  whether it is the init of a pid namespace below ours; may be NULL
 */
pid_t tracee_process(pid_t tid, bool *ret_is_init);

/* Whether a thread is one of a process but not its leader. */
bool tracee_is_thread(pid_t tid);

/* Its parent, which has to wait for it; 0 where there is no telling. */
pid_t tracee_parent(pid_t pid);

/* Whether this process traces it; a zombie is a tracee until its tracer has waited for it. */
bool tracee_is_ours(pid_t tid);

/* Whether a signal would do what it does by default: it is neither caught nor ignored. */
bool tracee_has_default_action(pid_t tid, int signo);

/* Its effective ids (credentials(7)). Returns false where there is no telling. */
bool tracee_effective_ids(pid_t pid, uid_t *ret_uid, gid_t *ret_gid);
