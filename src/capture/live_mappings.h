#pragma once

/* The mappings of a held process, from the text of /proc/PID/smaps (proc_pid_smaps(5)). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum live_mapping_kind {
    LIVE_ANONYMOUS,
    LIVE_FILE,
    LIVE_KERNEL, /* [vdso], [vvar], [vsyscall], …: the kernel's own */
};

/* How the part of a mapping that belongs to the core is read. */
enum live_reading {
    LIVE_WHOLE,
    LIVE_TOUCHED, /* only pages that are there: reading another would make it */
    LIVE_LENIENT, /* whole; where that fails the kernel has zeros too */
};

struct live_mapping {
    uint64_t start, end; /* addresses */
    uint64_t offset;     /* bytes into the file */
    dev_t device;        /* of the file */
    ino_t inode;         /* likewise */
    uint64_t anonymous;  /* bytes of pages that are no file's, in memory or swapped */
    uint32_t path;       /* of a file's: where it begins in the table's paths */
    uint8_t protection;  /* PF_R, PF_W, PF_X of elf(5) */
    enum live_mapping_kind kind;

    /* VmFlags */
    bool is_shared, is_io, is_huge, is_dont_dump, is_dont_fork, is_wiped_on_fork;

    /* Of the core; live_dump_rules.h sets them. */
    enum live_reading reading;
    uint64_t dump_size; /* bytes from @start on that belong to it */
    bool is_copied;     /* these are in a process_copy */
    bool is_listed;     /* which of its pages are there is in a process_copy's list */
};

struct live_mappings {
    struct live_mapping *entries; /* by address */
    size_t count, room;
    char *paths; /* NUL-terminated, one after the other */
    size_t paths_size, paths_room;
};

/*
 * Reads the table from the file's beginning; the descriptor's position is left alone. Of
 * /proc/PID/maps, which is the same without the details, these stay 0.
 *
 * @ret  to be freed with live_mappings_free()
 *
 * Returns 0, -EFBIG (more than two million mappings, or 64 MiB of paths), -EBADMSG (this is no
 * smaps), -ENOMEM or -errno of reading.
 */
int live_mappings_read(int smaps_fd, struct live_mappings *ret);

/* The path of a file's mapping as the process saw it, " (deleted)" included; "" for others. */
const char *live_mapping_path(const struct live_mappings *mappings,
                              const struct live_mapping *mapping);

/* The first mapping that ends behind an address, or NULL. */
const struct live_mapping *live_mappings_from(const struct live_mappings *mappings,
                                              uint64_t address);

/*
 * Puts another table's mappings into a table, in the place of those that begin where they do. One
 * that overlaps others otherwise is left out.
 *
 * Returns 0, -EFBIG or -ENOMEM; the table is whole in any case.
 */
int live_mappings_overlay(struct live_mappings *mappings, const struct live_mappings *over);

void live_mappings_free(struct live_mappings *mappings);
