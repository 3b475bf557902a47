#pragma once

/* What procfs says of a process, a tracee above all. Nothing here asks it to be stopped. */

#include <stdbool.h>
#include <sys/types.h>

/* A chain of parents may change while it is followed: it ends somewhere. */
#define MOST_GENERATIONS 256

/*
 * The process that a thread belongs to, or 0 where there is no telling.
 *
 * @ret_is_init  whether it is the init of a pid namespace, ours or one below; may be NULL
 */
pid_t tracee_process(pid_t tid, bool *ret_is_init);

/* Whether a thread is one of a process but not its leader. */
bool tracee_is_thread(pid_t tid);

/* A thread's state, as the letter of proc_pid_stat(5); '\0' where there is no telling. */
char tracee_state(pid_t tid);

/* Whether a thread has ended: a leader that has stays as a zombie until its last thread ends. */
bool tracee_is_dead(pid_t tid);

/* A thread that hasn't ended: the leader where that is one. procfs shows the memory and the files
 * of a process as a living thread's alone. @pid where there is none. */
pid_t tracee_living_thread(pid_t pid);

/* Whether a process has ended, with all its threads. */
bool tracee_has_ended(pid_t pid);

/* Its parent, which has to wait for it; 0 where there is no telling. */
pid_t tracee_parent(pid_t pid);

/* Whether this process traces it; a zombie is a tracee until its tracer has waited for it. */
bool tracee_is_ours(pid_t tid);

/* Whether it is of the pid namespace of this process, not of one below. */
bool tracee_shares_namespace(pid_t pid);

/* Whether it sees the same mounts as this process, as one of the same container does: 1 or 0, or
 * -errno where there is no telling. */
int tracee_shares_mounts(pid_t pid);

/* The process that traces a thread, as procfs tells; 0: none, or there is no telling. */
pid_t tracee_tracer(pid_t tid);

/* Whether a process descends from another, by parents that live. */
bool tracee_descends_from(pid_t pid, pid_t ancestor);

/* Whether this process traces any thread of another: the leader may have ended before. */
bool tracee_has_thread_of_ours(pid_t pid);

/* Whether a signal would do what it does by default: it is neither caught nor ignored. */
bool tracee_has_default_action(pid_t tid, int signo);

/* Its effective ids (credentials(7)). Returns false where there is no telling. */
bool tracee_effective_ids(pid_t pid, uid_t *ret_uid, gid_t *ret_gid);
