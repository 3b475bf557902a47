#pragma once

/*
 * A copy of a process that costs page tables alone: a child of its, made by clone(2), which shares
 * every page with it until one of the two writes to it. It never runs an instruction of its own
 * and is read as the process would be, which goes on meanwhile.
 *
 * It is a child that sends no signal and that wait(2) doesn't tell of, holds no file open, and dies
 * before the process does where memory is short. Should the tracer die it ends at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "capture/injected_call.h"

struct process_clone {
    pid_t pid;     /* 0: there is none */
    pid_t own_pid; /* as its parent knows it */
    struct call_site site;
};

/*
 * Makes the copy.
 *
 * @pid  every thread of it that can be is traced by the caller and stopped (holding_seize()); they
 * are as they were afterwards
 * @why  where it isn't possible: one clause, with the cause
 *
 * Returns 0, or -errno with @why.
 */
int process_clone_make(pid_t pid, struct process_clone *ret, char *why, size_t why_size);

/* Ends the copy. What is left is a zombie, its parent's. Does nothing where there is none. */
void process_clone_end(struct process_clone *clone);

/*
 * Whether it has ended before it was to: the kernel was short of memory, or its pid namespace ends,
 * which waits for it. It is reaped then as its tracer's.
 */
bool process_clone_has_ended(struct process_clone *clone);

/*
 * Lists what killed tracers left of their copies: zombies of a process, as it knows them.
 *
 * Returns how many, @most at most.
 */
size_t process_clone_find_dead(pid_t pid, pid_t *ret, size_t most);

/*
 * Makes the parent reap it: a thread of its calls wait4(2).
 *
 * @pid   the parent, held as above
 * @dead  others that it is to reap too
 *
 * Returns 0 (also where it is gone already), or -errno: the zombie stays, and takes a pid, until
 * its parent ends or is asked again.
 */
int process_clone_bury(pid_t pid, const struct process_clone *clone, const pid_t *dead,
                       size_t n_dead);
