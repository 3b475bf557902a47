#pragma once

/* How a crash will be captured, decided at start-up and said before it happens. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#include "init/options.h"

struct capture_mode {
    bool is_on;
    bool is_traced;        /* by ptrace(2); else the core is the kernel's */
    bool is_core_expected; /* a crash will give a core */
    char name[16];         /* "kernel", "ptrace" or "off" */
    char why[256];         /* one clause for the banner: what decided it */
    char mend[256];        /* where no core is expected: what to do, "" otherwise */
    char not_traced[256];  /* where tracing was wanted and can't be: the reason, "" otherwise */
};

/*
 * Looks at core_pattern (core(5)), the core limit and the directory the pattern points at; and
 * where the kernel's way would give no core, or the choice says so, at whether the program can be
 * traced.
 *
 * @core     RLIMIT_CORE as the program will have it
 * @program  as execvp(3) takes it
 */
void mode_decide(enum capture_choice choice, const struct rlimit *core, const char *program,
                 struct capture_mode *ret);
