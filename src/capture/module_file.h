#pragma once

/* The file that a module was mapped from, as long as it is still there. */

#include "capture/core_info.h"

/*
 * Opens a module's file by its path below the process's root, if it is still the one that was
 * mapped: it has the same build-id, or where modules have none the same inode. (The latter is known
 * only if mapping and file tell of the same device, which an overlay's don't on many kernels.)
 *
 * @flags  as for open_regular_at()
 *
 * Returns a descriptor, -ESTALE (it was replaced), -ENOEXEC or -ENODATA (no ELF file, or a cut one)
 * or as open_regular_at().
 */
int module_open(const struct core_info *info, const struct core_module *module, int flags);

/* Whether an open file is the one that was mapped; returns 0, or as module_open(). */
int module_check(const struct core_info *info, const struct core_module *module, int fd);
