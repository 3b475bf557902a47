#pragma once

/* Notes of ELF files (elf(5), "Notes (Nhdr)"), read one by one where they lie: nothing is held. */

#include <stddef.h>
#include <stdint.h>

#include "capture/core_memory.h"

/* Where ELF structures are read from: a file, or a process's memory in its core. */
struct elf_bytes {
    int fd;
    const struct core_memory *memory; /* NULL: positions are file offsets; else addresses */
};

/* Reads all @size bytes at a position. Returns 0, -ENODATA (they aren't there) or -errno. */
int elf_bytes_read(const struct elf_bytes *bytes, uint64_t at, void *ret, size_t size);

struct elf_note {
    uint32_t type;
    char name[8]; /* "CORE", "GNU", "LINUX"; a longer one is cut */
    uint64_t desc;
    uint32_t desc_size;
};

/* A walk over the notes of one PT_NOTE. */
struct elf_notes {
    struct elf_bytes bytes;
    uint64_t at, end;
    uint64_t align;    /* 4, or 8 where the segment says so */
    uint32_t patience; /* notes left before the rest is taken for garbage */
};

/* Begins a walk over the notes from @at on; they take @size bytes. */
struct elf_notes elf_notes_begin(const struct elf_bytes *bytes, uint64_t at, uint64_t size,
                                 uint64_t align);

/*
 * Fetches the next note; its description lies whole within the segment.
 *
 * Returns 1, 0 at the end (also where garbage follows), -ENODATA (cut) or -errno of reading.
 */
int elf_notes_next(struct elf_notes *notes, struct elf_note *ret);
