#pragma once

/* Being asked to stop: since when, and how long that leaves. Times are CLOCK_MONOTONIC, ms. */

#include <stdbool.h>
#include <stdint.h>

struct stopping {
    int64_t deadline;    /* before the runtime sends SIGKILL; 0: not asked, or there is no limit */
    int64_t asked_until; /* ends until then were asked for */
};

/*
 * A signal that asks for it has come (signal_stops()). The runtime's patience counts from the first
 * one; where that is over, and we are still there, it wasn't meant, and counts anew.
 *
 * What lives on after SIGTERM was asked to stop all the same. SIGINT and SIGQUIT have other
 * meanings too: those who live on for the time-out don't stop.
 *
 * @timeout  seconds; 0: no limit
 */
void stopping_ask(struct stopping *stopping, int signo, uint32_t timeout, int64_t now_ms);

/* Whether an end now was asked for. */
bool stopping_is_asked(const struct stopping *stopping, int64_t now_ms);

/* Until when there is time, or INT64_MAX where nothing presses. */
int64_t stopping_deadline(const struct stopping *stopping, int64_t now_ms);
