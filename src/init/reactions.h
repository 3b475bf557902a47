#pragma once

/* What coreinit does on each event: one table, (what happened) x (what we were doing). */

#include "init/init.h"

/* What can happen. */
enum event {
    PROGRAM_ENDED,    /* and coreinit is going to */
    PROGRAM_RESTARTS, /* it crashed, and is to be started again */
    PROGRAM_LINGERS,  /* it crashed, and the container is to be kept up */
    CRASHED,          /* a record was put at the end of the queue */
    CRASHED_STOPPING, /* the same, after the program was asked to stop */
    PROGRAM_HELD,     /* at its fatal signal: its end is certain */
    COLLECTED,        /* the collector ended, no crash waits, and the program has ended */
    COLLECTED_ALIVE,  /* the same, but the program hasn't */
    COLLECTED_LINGERS,
    COLLECTED_MORE, /* the collector ended, and another crash waits */
    OVERDUE,        /* the collector's deadline has come */
    PAUSE_OVER,
    STOP_SIGNAL,
    OTHER_SIGNAL,
    ATTACHED, /* to a process, which is the program from now on */
    N_EVENTS,
};

/* @signo  where the event is a signal, else 0 */
void react(struct init *init, enum event event, int signo);
