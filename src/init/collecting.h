#pragma once

/* The crash that is collected: its collector from the start to the end, and the process that is
 * held for it. */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "init/crash_record.h"

struct init;

struct collecting {
    pid_t pid;                  /* the collector's; 0: nothing is collected */
    bool is_killed;             /* by us */
    int64_t told;               /* until when it has time; INT64_MAX: nothing */
    struct crash_record record; /* its descriptors are open until the end */
    char name[48];              /* of the crash, for people */
    int release_fd;   /* a pipe: the word that comes says that the core is the collector's; -1: none
                       */
    bool is_let_go;   /* the process, if it was held: the word has come */
    int64_t deadline; /* CLOCK_MONOTONIC, milliseconds; INT64_MAX: none */
};

/* Takes the first crash off the queue and starts a collector; @init->collecting.pid stays 0 where
 * that can't be done. */
void collecting_begin(struct init *init);

/* Reads what came through @release_fd, and lets the process go. */
void collecting_see_release(struct init *init);

/*
 * The collector has ended. One that was killed over the crash, and not by us, is started once more;
 * the process stays held for it.
 */
void collecting_see_end(struct init *init, const siginfo_t *end);

/* Tells the collector until when it has time, unless it was told of an earlier end. */
void collecting_tell(struct init *init, int64_t until);

/* The same, and sees to it. */
void collecting_limit(struct init *init, int64_t until);

/* Kills it. One that doesn't die of that is left behind the next time, or after some seconds. */
void collecting_kill(struct init *init);

/* Whether the program has a crash whose core would be lost with the next one. */
bool collecting_needs_core(const struct init *init);

/* Whether its end is that of the process which is held: it is in a pid namespace of which that is
 * the init (pid_namespaces(7)). The process is held until the collector has ended. */
bool collecting_is_our_end(const struct init *init);
