#pragma once

/* A thread's registers, as libdw wants them. The one file that knows machines by name. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/procfs.h>

#include <elfutils/libdwfl.h>

uint64_t registers_pc(const elf_gregset_t registers);

/*
 * Undoes a call whose target never ran an instruction (a NULL function pointer).
 *
 * @stack_word  reads 8 bytes of the thread's stack; returns false where there are none
 *
 * Returns false, and leaves the registers alone, where the return address can't be read.
 */
bool registers_undo_call(elf_gregset_t registers,
                         bool (*stack_word)(uint64_t address, uint64_t *ret, void *context),
                         void *context);

/* Hands the registers to libdw under their DWARF numbers. Returns false where it refuses them. */
bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers);
