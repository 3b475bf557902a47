#pragma once

/* Crashes that wait for the collector, each with all that is known of it. */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "init/init.h"

/* Tells of a process that was killed; called while it is a zombie. */
void queue_say_end(const struct init *init, const siginfo_t *end, bool is_oom);

/*
 * Keeps what is lost once a process is reaped, at the end of the queue; called while it is a
 * zombie. Where there is no corectl, it tells where the kernel's core lies instead.
 *
 * @is_crash  else it only is to be told (--report exits)
 *
 * Returns whether it is in the queue.
 */
bool queue_ended(struct init *init, const siginfo_t *end, bool is_crash);

/*
 * Holds a process that is about to die, and keeps what its core is made of.
 *
 * Returns whether it is in the queue; else its signal is to be passed on.
 */
bool queue_held(struct init *init, const struct fatal_stop *stop);

/*
 * Takes a core that appeared, of a process that its own parent reaps, where no crash waits: it may
 * be that crash's.
 *
 * @until  as core_watch_take() takes it
 *
 * Returns whether there was one.
 */
bool queue_appeared(struct init *init, int64_t until);

/* Takes the first one off the queue; its descriptors are the caller's, to be closed by
 * queue_close(). */
void queue_take_first(struct init *init, struct crash_record *ret);

void queue_close(struct crash_record *record);
