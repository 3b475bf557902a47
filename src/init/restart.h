#pragma once

/* When a program that crashed is started again, and how often. */

#include <stdint.h>

#include "init/options.h"

struct restarts {
    int64_t at[MOST_RESTARTS]; /* the latest, each at its place modulo their number */
    uint32_t n;                /* all */
    unsigned n_short;          /* lives in a row that were short */
};

/* How many restarts there were in the hour before @now_ms (CLOCK_MONOTONIC). */
uint32_t restarts_of_last_hour(const struct restarts *restarts, int64_t now_ms);

/*
 * Whether, and when, the program is to be started again: after 1, 2, 4 ... 60 s, and again after
 * 1 s where it lived for ten minutes.
 *
 * @limit    restarts in an hour; 0: no limit
 * @life_ms  how long it lived
 *
 * Returns the pause in milliseconds, or -1: the limit is reached.
 */
int64_t restart_pause(struct restarts *restarts, uint32_t limit, int64_t life_ms, int64_t now_ms);

/* It is started again now. */
void restart_count(struct restarts *restarts, int64_t now_ms);
