#pragma once

/* .libs.zip: every mapped ELF file besides the executable, at its own path, so that the unpacked
 * archive is a gdb sysroot. */

#include "bundle/sink.h"
#include "capture/core_info.h"

/*
 * Writes the archive to a sink (not committed). A file that can't be read, that is no ELF file, or
 * whose build-id is no longer the one that was mapped is left out with a warning; one that was
 * deleted is too.
 *
 * @root  prefix for opening files: "" or "/proc/PID/root"
 *
 * Returns 0 (also for an empty archive), -ENOMEM or -errno of the sink.
 */
int libs_write(const struct core_info *info, const char *exe_path, const char *root,
               struct sink *sink);
