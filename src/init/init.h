#pragma once

/*
 * PID 1 while the program runs: reaping, forwarding, and what to do on each event. After init_run()
 * is entered nothing is allocated.
 */

#include <sys/types.h>

#include "init/attach.h"
#include "init/collecting.h"
#include "init/core_watch.h"
#include "init/mode.h"
#include "init/oom.h"
#include "init/options.h"
#include "init/restart.h"
#include "init/signals.h"
#include "init/stopping.h"
#include "init/sweeper.h"
#include "init/tracer.h"
#include "init/witness.h"

/* Crashes that wait for the collector; more at once are told, but not bundled. */
#define MAX_WAITING 4

/* What coreinit is doing. */
enum doing {
    RUNNING,     /* the program runs */
    BUSY,        /* the program runs, and the collector works on a crash */
    LEAVING,     /* as BUSY, and the program was asked to stop meanwhile */
    LAST,        /* the program has ended, or is held at its end; the collector still works */
    STOPPING,    /* as LAST, but the container is asked to stop */
    PAUSED,      /* the program crashed, and is started again after a pause */
    PAUSED_BUSY, /* as PAUSED, and the collector works */
    LINGERING,   /* the program crashed, and the container is kept up to be looked into */
    SEEKING,     /* there is no program: one is waited for, to be attached to (attach.h) */
    DONE,
    N_DOING,
};

/* PID 1's state: the one global besides the log level. Times are CLOCK_MONOTONIC, milliseconds. */
struct init {
    const struct options *options;
    const struct signal_state *given; /* what the program is given back */
    struct capture_mode *mode;
    char corectl[PATH_MAX];
    bool has_corectl;
    int signal_fd;

    struct attach attach;
    pid_t program;    /* started, or attached to */
    int64_t started;  /* the program */
    bool has_ended;   /* the program; or none was attached to yet */
    bool has_crashed; /* it ended by a crash */
    int exit_status;  /* once it has ended */

    enum doing doing;
    bool lingers;      /* after the collection */
    int64_t pause_end; /* of PAUSED or LINGERING; 0: it didn't begin */
    int64_t next_look;
    struct stopping stopping;
    struct restarts restarts;
    struct collecting collecting;
    struct sweeper sweeper;
    struct oom oom;

    time_t last_crash; /* a second of CLOCK_REALTIME */
    unsigned n_same_second;

    struct tracer tracer;
    struct witnesses witnesses;
    struct core_watch watch; /* in kernel mode */
    struct crash_record waiting[MAX_WAITING];
    unsigned n_waiting;
};

/*
 * Runs until the program has ended and the collector is done; where it attaches to processes, until
 * it is asked to stop, or the one that was asked for has ended.
 *
 * Returns the exit status: the program's own, or 128+signal, or 0 where -e says so or coreinit was
 * asked to stop while it was attached.
 */
int init_run(struct init *init);
