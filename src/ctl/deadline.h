#pragma once

/*
 * By when the collector must be done: collect_timeout after its start, and sooner where coreinit is
 * asked to stop. coreinit tells that by a queued SIGTERM (sigqueue(3)) whose value is the number of
 * milliseconds until it must be gone itself; then it kills what still runs.
 *
 * A thread waits for the signal, so that nobody has to look for it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "init/crash_record.h"

struct deadline;

/*
 * Begins to watch. SIGTERM is blocked in this thread and those it starts from here on.
 *
 * Returns 0, -ENOMEM or -EAGAIN.
 */
int deadline_start(const struct crash_settings *settings, struct deadline **ret);

/*
 * Has a function called, from the watching thread, each time the deadline moves, and once now where
 * there is one. NULL: none, and none runs any more.
 *
 * @at_ns  when sending has to end (monotonic_ns())
 */
void deadline_on_move(struct deadline *deadline, void (*on_move)(void *context, int64_t at_ns),
                      void *context);

/* When what is being made has to be ended well, a margin before the deadline (monotonic_ns());
 * INT64_MAX where there is none. @deadline may be NULL. */
int64_t deadline_to_make(struct deadline *deadline);

/* Whether that is past. */
bool deadline_is_near(struct deadline *deadline);

/* NULL is fine. */
void deadline_stop(struct deadline *deadline);
