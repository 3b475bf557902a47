#pragma once

/*
 * The names under which the dynamic loader knows a dumped process's libraries: the link_map chain
 * of <link.h>, to which the executable's DT_DEBUG leads, as gdb reads it. glibc and musl keep one.
 */

#include "capture/core_info.h"

/*
 * Calls @each with the name of every library in the chain, in order; the executable, which has
 * none, is left out, and so is a name that isn't in the core. Everything in a core is distrusted: a
 * chain without an end is cut.
 *
 * @each  returns 0 to go on
 *
 * Returns 0, -ENODATA (no chain, or its rest can't be read: a static program, or memory that was
 * not dumped) or what @each returned.
 */
int link_names_each(const struct core_info *info, int core_fd,
                    int (*each)(const char *name, void *context), void *context);
