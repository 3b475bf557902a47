#pragma once

/* The reason why a crash left no core, or would leave none, in words. */

#include <stdbool.h>
#include <stddef.h>

#include "capture/core_pattern.h"
#include "capture/crash_facts.h"
#include "init/crash_record.h"

/*
 * Writes one sentence: the cause, and what to do about it.
 *
 * @looked_for  the pattern as it was looked for, "" where the settings leave nothing to look for
 * @refused     what was found in the core's place and not trusted, "PATH: REASON", or ""
 */
void why_no_core(const struct crash_record *record, const struct crash_facts *facts,
                 const struct core_settings *settings, const char *looked_for, const char *refused,
                 char *ret, size_t size);

/*
 * The same of a crash that hasn't happened: the record holds what procfs tells of a process that
 * lives, and an end as if it were just being killed by a signal that dumps core. Whether it is
 * dumpable is not looked at.
 *
 * Returns whether something is in the way.
 */
bool why_no_core_would_come(const struct crash_record *record, const struct crash_facts *facts,
                            const struct core_settings *settings, char *ret, size_t size);

/*
 * The directory that the kernel would put a core into, as far as the settings name it literally.
 * Only for a core_pattern that names a file.
 */
void core_directory(const struct crash_record *record, const struct core_settings *settings,
                    char *ret, size_t size);
