#pragma once

/* Starting the program, with everything as it was given to coreinit. */

#include <stdbool.h>
#include <sys/types.h>

#include "init/signals.h"
#include "init/tracer.h"

/*
 * Forks and executes the program (execvp(3)) in a process group of its own, which becomes the
 * terminal's foreground group where coreinit's was.
 *
 * @given         the signal state to restore
 * @is_traceable  whether others of the same user may trace it (privilege_allow_tracers())
 * @tracer        seizes it before it executes, where it is on; is off afterwards, which is logged,
 * where that was refused
 *
 * Returns its pid; or, with the reason logged, minus the exit status that shells use: -127 (not
 * found), -126 (found, can't be executed), -1 (no process could be made).
 */
pid_t spawn_program(char **argv, const struct signal_state *given, bool is_traceable,
                    struct tracer *tracer);
