#pragma once

/* The reason why a crash left no core, in words. */

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
