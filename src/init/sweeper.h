#pragma once

/*
 * `corectl upload --sweep`, which sends what an earlier life left in the cores dir, in the
 * background of the program: once at its start, and again, after growing pauses, where something
 * couldn't be sent. Nobody waits for it.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "init/crash_record.h"

struct sweeper {
    const char *corectl; /* NULL: there is nothing to sweep, or nowhere to send it to */
    const struct crash_settings *settings;
    pid_t pid;         /* 0: none runs */
    int64_t next;      /* when one is started, CLOCK_MONOTONIC milliseconds; INT64_MAX: not */
    unsigned failures; /* in a row */
    bool is_told;      /* that coreinit is to stop */
};

/* Begins; the first one is due in a second. @corectl is NULL where there is none. */
void sweeper_begin(struct sweeper *sweeper, const char *corectl,
                   const struct crash_settings *settings, int64_t now_ms);

/* Starts one if it is due. */
void sweeper_attend(struct sweeper *sweeper, int64_t now_ms);

/* Sees a child's end. Returns whether it was the sweeper's. */
bool sweeper_see_end(struct sweeper *sweeper, const siginfo_t *end, int64_t now_ms);

/*
 * Something is in the cores dir that wasn't sent: one is started after a pause, unless that is the
 * case already.
 *
 * Returns the pause in minutes, 0 where there won't be one.
 */
unsigned sweeper_schedule(struct sweeper *sweeper, int64_t now_ms);

/* Tells it how long it still has, in milliseconds. */
void sweeper_stop(struct sweeper *sweeper, int64_t left_ms);
