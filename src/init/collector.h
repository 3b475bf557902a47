#pragma once

/* `corectl collect`, run after a crash, and `corectl upload --sweep`: processes that may fail in
 * any way without harm to PID 1. */

#include <stdint.h>
#include <sys/types.h>

#include "init/crash_record.h"

/* corectl's exit status where a bundle is whole in the cores dir, but not all of it was sent
 * (EX_TEMPFAIL, sysexits.h). */
#define COLLECTOR_TEMPFAIL 75

/*
 * Finds corectl: COREINIT_CORECTL, else beside this executable.
 *
 * @ret  its path, also where it isn't there
 *
 * Returns 0, or -errno of access(2) (-ENOENT, -EACCES).
 */
int collector_find(char *ret, size_t size);

/*
 * Starts `corectl collect --record-fd N` in a process group of its own, on /dev/null and stderr,
 * with SIGTERM blocked (it asks for it) and a core limit of 0 (its own core would overwrite the
 * program's where core_pattern has no pid). Where memory is short the kernel kills it before the
 * program. The record's descriptors are inherited and stay the caller's too.
 *
 * Returns its pid, or -errno, logged.
 */
pid_t collector_start(const char *corectl, const struct crash_record *record);

/* The same of `corectl upload --sweep --record-fd N`, with low priority; its record has the
 * settings alone. */
pid_t collector_sweep(const char *corectl, const struct crash_settings *settings);

/* Sends SIGTERM with the milliseconds that are left until coreinit ends (sigqueue(3)). */
void collector_tell_deadline(pid_t collector, int64_t left_ms);

/*
 * Gives what runs in its process group CPU and disk where nobody else wants them.
 *
 * @collector  0: this process alone, which has no group yet
 */
void collector_lower(pid_t collector);
