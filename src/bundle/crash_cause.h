#pragma once

/* Why a process ended, as crash.json names it. */

#include <stdbool.h>
#include <stdint.h>

#include "init/crash_record.h"

enum crash_cause {
    CAUSE_SIGNAL,   /* one that dumps core */
    CAUSE_OOM_KILL, /* the kernel's, for want of memory */
    CAUSE_KILL,     /* another signal, that nobody asked coreinit to send */
    CAUSE_STOP,     /* coreinit was asked to stop it */
    CAUSE_EXIT,     /* of itself, with a status that isn't 0 */
    CAUSE_SNAPSHOT, /* it goes on */
};

/* "signal", "oom-kill", ... */
const char *crash_cause_name(enum crash_cause cause);

/*
 * The cause that a record tells of; never CAUSE_SNAPSHOT.
 *
 * @has_core  there is a core: a status of 128+N is a shell's report of its child's signal then
 */
enum crash_cause crash_cause_of(const struct crash_record *record, bool has_core);

/*
 * How many processes of the memory cgroup the kernel killed for want of memory between the two
 * looks of record->memory_events: "oom_kill" of memory.events (cgroup v2) or memory.oom_control
 * (v1, Linux 4.13).
 *
 * Returns whether both counts are known.
 */
bool crash_oom_kills(const struct crash_record *record, uint64_t *ret);
