#pragma once

/* What of a process's memory belongs to its core: vma_dump_size() of the kernel's fs/coredump.c. */

#include <sys/types.h>

#include "capture/live_mappings.h"
#include "capture/live_memory.h"

/* What coreinit gives its program, and what is assumed where the process's own can't be read. */
#define DUMP_FILTER_DEFAULT 0x37u

/* What /proc/TID/coredump_filter says, else the default. */
unsigned live_dump_filter(pid_t tid);

/*
 * Sets the core's part of each mapping.
 *
 * What the kernel knows and procfs doesn't tell is stood in for: a mapping that has a page of its
 * own has an anon_vma; a path that ends in " (deleted)" is a file without links; what isn't ELF
 * doesn't get the page that may have an ELF header, though its file may be executable; DAX is
 * mapped as any file.
 *
 * @filter  /proc/PID/coredump_filter (core(5))
 */
void live_dump_rules_apply(struct live_mappings *mappings, unsigned filter,
                           const struct live_memory *memory);
