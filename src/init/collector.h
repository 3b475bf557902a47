#pragma once

/* `corectl collect`, run after a crash, as a process that may fail in any way without harm to
 * PID 1. */

#include <sys/types.h>

#include "init/crash_record.h"

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
 * with a core limit of 0 (its own core would overwrite the program's where core_pattern has no
 * pid). The record's descriptors are inherited and stay the caller's too.
 *
 * Returns its pid, or -errno, logged.
 */
pid_t collector_start(const char *corectl, const struct crash_record *record);
