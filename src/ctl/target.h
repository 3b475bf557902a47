#pragma once

/*
 * The running process that a command is about: found by number, by name, or as the program of the
 * coreinit that is here; and whether it can be traced.
 */

#include <stdbool.h>
#include <sys/types.h>

struct target {
    pid_t pid;
    char name[256];     /* of its command line's first word, without the directory; else its comm */
    pid_t coreinit;     /* the coreinit that traces it, or whose program it is; 0: none */
    bool is_traced;     /* by that */
    pid_t other_tracer; /* that traces it otherwise: a debugger; 0: none */
};

/* Reads a pid as an argument gives it. Returns false, logged, where it is none. */
bool target_read_pid(const char *text, pid_t *ret);

/*
 * The coreinit that can be seen here.
 *
 * @ret_is_only  whether there are no others
 *
 * Returns its pid, or 0 where there is none.
 */
pid_t target_coreinit(bool *ret_is_only);

/*
 * Finds a process.
 *
 * @pid   0 where it isn't given
 * @name  the comm, or the last path part of the command line's first word; or NULL. Of processes of
 * that name the one is meant that has the others for descendants. Without either: the program of
 * the only coreinit that can be seen.
 *
 * Returns 0, -ESRCH (there is none), -ECHILD (there is a coreinit, which has none now) or -EEXIST
 * (there are several: they are listed); logged.
 */
int target_find(pid_t pid, const char *name, struct target *ret);

/*
 * Makes coreinit let go of a process that it traces, so that this one, or what it executes, can
 * trace it; coreinit takes it back by itself when this process ends. Does nothing where coreinit
 * doesn't trace it.
 *
 * Returns 0, -EBUSY (another tracer has it), -EPERM, -ETIMEDOUT (coreinit didn't let go within
 * two seconds) or -errno; logged.
 */
int target_take(const struct target *target);

/* Says that coreinit may have it back; it was detached before. */
void target_give_back(const struct target *target);
