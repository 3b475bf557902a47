#pragma once

/* How a crash will be captured, decided at start-up and said before it happens. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#include "init/options.h"

struct capture_mode {
    bool is_on;
    bool is_core_expected; /* the kernel will write a core that the collector can find */
    char name[16];         /* "kernel" or "off" */
    char why[256];         /* one clause for the banner: what decided it */
    char mend[256];        /* where no core is expected: what to do, "" otherwise */
};

/*
 * Looks at core_pattern (core(5)), the core limit and the directory the pattern points at.
 *
 * @core  RLIMIT_CORE as the program will have it
 */
void mode_decide(enum capture_choice choice, const struct rlimit *core, struct capture_mode *ret);
