#pragma once

/* Starting the program, and all that looks at it: at first, and after a crash. */

#include "init/init.h"

/*
 * Returns 0, or with the reason logged minus the exit status that shells use: -127 (not found),
 * -126 (found, can't be executed), -1 (no process could be made).
 */
int program_start(struct init *init);
