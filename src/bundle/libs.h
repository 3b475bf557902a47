#pragma once

/*
 * .libs.zip: every mapped ELF file besides the executable, so that the unpacked archive is a gdb
 * sysroot.
 *
 * Each file is stored at its own path, as the process had it mapped. gdb, however, asks a sysroot
 * for the name the dynamic loader used (/lib64/ld-linux-x86-64.so.2, /lib/…/libz.so.1), and on most
 * distributions that is a symbolic link somewhere along the way. Where those names are known
 * (link_names.h) and differ, the file is stored under them too: as a copy, because
 * Python's zipfile and unpacking from a pipe make a text file of a symbolic link.
 */

#include "bundle/link_names.h"
#include "bundle/sink.h"
#include "capture/core_info.h"

/*
 * Writes the archive to a sink (not committed). Files are opened below the process's root
 * (info->root_fd). One that can't be read, that is no ELF file, or that is no longer the one that
 * was mapped (module_file.h) is left out with a warning; one that was deleted is too.
 *
 * @names     the loader's names of the libraries, as far as they are known
 * @exe_path  the executable's path as in the mappings, which is left out; NULL where unknown
 *
 * Returns 0 (also for an empty archive), -ENOMEM or -errno of the sink.
 */
int libs_write(const struct core_info *info, const struct link_names *names, const char *exe_path,
               struct sink *sink);
