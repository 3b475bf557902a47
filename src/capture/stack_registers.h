#pragma once

/* A thread's registers, as libdw wants them. */

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/procfs.h>

#include <elfutils/libdwfl.h>

/* The header of an ELF file of this machine, without any content. */
Elf64_Ehdr registers_elf_header(void);

uint64_t registers_pc(const elf_gregset_t registers);

/* Reads 8 bytes of the process's memory. Returns false where there are none. */
typedef bool (*word_reader)(uint64_t address, uint64_t *ret, void *context);

/*
 * Undoes a call whose target never ran an instruction (a NULL function pointer).
 *
 * Returns false, and leaves the registers alone, where the return address can't be read.
 */
bool registers_undo_call(elf_gregset_t registers, word_reader read_word, void *context);

/*
 * Reads what the kernel saved when it called a signal handler (sigreturn(2), struct rt_sigframe).
 *
 * @state  the frame that the handler returns to
 *
 * Returns false where it can't be read.
 */
bool registers_of_interrupted(Dwfl_Frame *state, word_reader read_word, void *context,
                              elf_gregset_t ret);

/* Hands the registers to libdw under their DWARF numbers. Returns false where it refuses them. */
bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers);
