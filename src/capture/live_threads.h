#pragma once

/*
 * What procfs tells of a stopped process and its threads, as NT_PRSTATUS and NT_PRPSINFO have it:
 * fill_prstatus() and fill_psinfo() of the kernel's fs/binfmt_elf.c. Ids are those of the process's
 * own pid namespace. What can't be read is 0.
 */

#include <sys/procfs.h>

#include "init/crash_record.h"

/* Everything of a thread's NT_PRSTATUS but its registers. CPU times are exact to the clock tick. */
void live_thread_status(const struct crash_record *record, pid_t tid, struct elf_prstatus *ret);

/* The process's NT_PRPSINFO, as of the moment in which the kernel would dump it. */
void live_process_status(const struct crash_record *record, struct elf_prpsinfo *ret);

/* A thread's name. */
void live_thread_name(const struct crash_record *record, pid_t tid, char ret[17]);
