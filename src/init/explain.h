#pragma once

/* `coreinit --explain`: what coreinit would do, for corectl doctor and for people. */

#include <stdbool.h>

#include "init/mode.h"
#include "init/options.h"

/*
 * Prints a line "KEY: VALUE" for each thing that was decided, to standard output; the order is
 * fixed, every key is there, values may be empty and have no control characters.
 *
 * @corectl  where the collector is looked for
 */
void explain(const struct options *options, const struct capture_mode *mode, const char *corectl,
             bool has_corectl);
