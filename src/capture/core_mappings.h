#pragma once

/* The files that were mapped: from NT_FILE or /proc/PID/maps to core_info's mappings and modules.
 */

#include "capture/core_info.h"

/*
 * Reads the mappings from an NT_FILE note, whose layout fill_files_note() of the kernel's
 * fs/binfmt_elf.c defines.
 *
 * Returns 0, -EINVAL (the table isn't what its size says), -EFBIG (more than 16 MiB), -ENODATA
 * (cut), -ENOMEM or -errno of reading.
 */
int core_mappings_from_note(int core_fd, uint64_t at, size_t size, struct core_info *info);

/* Reads the mappings from the text of /proc/PID/maps. Returns 0, -EFBIG, -ENOMEM or -errno. */
int core_mappings_from_maps(int maps_fd, struct core_info *info);

/*
 * Finds out which of the mapped files are ELF files, and identifies them.
 *
 * @core_fd             the core, or -1 where there is none
 * @executable_address  an address within the executable (AT_PHDR), 0 where unknown
 *
 * Returns 0 or -ENOMEM.
 */
int core_modules_find(int core_fd, uint64_t executable_address, struct core_info *info);
