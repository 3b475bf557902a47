#pragma once

/*
 * Attaching to a process that is nobody's child here: an application's, in another container that
 * shares the pid namespace. Its real parent goes on to wait for it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "init/mode.h"
#include "init/options.h"
#include "init/tracer.h"

/* What is looked for, and how it went so far; zeros: nothing. */
struct attach {
    bool is_on;
    const char *name; /* "": the process @pid alone; NULL where it isn't on */
    pid_t pid;
    int64_t next; /* look: CLOCK_MONOTONIC, milliseconds */

    bool told_waiting;
    pid_t refused;     /* whom it couldn't attach to lately; 0: nobody */
    int refusal_pause; /* until it is tried again, milliseconds */
    char told[256];    /* the cause, as it was logged */
};

/* Whether coreinit was asked for this, rather than to start a program. */
bool attach_is_asked(const struct options *options);

/* Begins; @ret_mode is what the banner tells. */
void attach_begin(const struct options *options, struct attach *ret, struct capture_mode *ret_mode);

/*
 * Looks for the process, and attaches to all its threads and descendants. Of several of the name
 * that have no ancestor of it the oldest is taken.
 *
 * What is in the way is logged with its mend, once for each cause, and tried again at growing
 * intervals. @attach->next says when to call again.
 *
 * Returns its pid, 0 (not yet), or -ESRCH (the process @pid is gone).
 */
pid_t attach_seek(struct attach *attach, struct tracer *tracer);

/*
 * Whether a process that was attached to is traced no more although nobody told of its end: it died
 * while it was lent, or is let go to die as the init of a pid namespace.
 */
bool attach_is_lost(struct attach *attach, const struct tracer *tracer, pid_t pid);
