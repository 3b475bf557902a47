#pragma once

/* What identifies a program or library: its build-id, from its file or from a process's memory. */

#include <stddef.h>
#include <stdint.h>

#include "capture/core_memory.h"

/* Build-ids have 20 bytes as a rule (SHA-1); the notes allow any size, so longer ones are cut. */
#define BUILD_ID_MAX 64

struct elf_image {
    uint64_t first_address;              /* p_vaddr of the first PT_LOAD, on its page's start */
    char build_id[2 * BUILD_ID_MAX + 1]; /* hex, "" where it has none */
};

/*
 * Reads an ELF file's identity.
 *
 * Returns 0, -ENOEXEC (no ELF file, or one of another machine's class or byte order), -ENODATA (cut
 * before it is known) or -errno of reading.
 */
int elf_image_of_file(int fd, struct elf_image *ret);

/*
 * The same of a file that was mapped from its beginning at @address; coredump_filter's bit 4 leaves
 * the first page in the core.
 *
 * Returns as elf_image_of_file(); -ENODATA where the core doesn't hold what is needed.
 */
int elf_image_of_core(const struct core_memory *memory, int core_fd, uint64_t address,
                      struct elf_image *ret);

/*
 * A file's build-id alone, in hex; "" where it has none.
 *
 * Returns as elf_image_of_file(), or -ENOBUFS.
 */
int build_id_of_file(int fd, char *ret, size_t size);
