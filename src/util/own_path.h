#pragma once

/* Files that were installed with this executable: /opt/coreinit may lie anywhere. */

#include <stddef.h>

/*
 * A path from the directory of this executable on.
 *
 * @name  e.g. "corectl" or "../etc/file"
 * @ret   "" after an error
 *
 * Returns 0, -ENAMETOOLONG or -errno of readlink(2); whether it is there isn't looked at.
 */
int own_path(const char *name, char *ret, size_t size);
