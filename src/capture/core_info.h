#pragma once

/*
 * What an ELF core tells about the process it was: elf(5), and the note layouts of the kernel's
 * fs/binfmt_elf.c. Every offset and count in the file is distrusted, and nothing of a size that the
 * file chooses is held but NT_FILE's table, which is bounded.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/procfs.h>
#include <sys/types.h>

#include "capture/build_id.h"
#include "capture/core_memory.h"

struct core_thread {
    pid_t tid;
    char name[17];           /* "" where unknown: the kernel's core doesn't name threads */
    elf_gregset_t registers; /* general registers, in the order of NT_PRSTATUS */
};

/* One line of NT_FILE or of /proc/PID/maps that has a path. */
struct core_mapping {
    uint64_t start, end; /* addresses */
    uint64_t offset;     /* bytes into the file */
    bool executable;
    const char *path; /* owned by the core_info */
    dev_t device;     /* of the file */
    ino_t inode;      /* likewise; 0 where unknown, as a core doesn't tell it */
};

/* An ELF file that was mapped as a loader maps it, from its beginning; the executable included. */
struct core_module {
    const char *path; /* as the process saw it, " (deleted)" included; owned by the core_info */
    uint64_t start;   /* address of its beginning */
    uint64_t bias;    /* address minus p_vaddr; start where the file's headers can't be read */
    char build_id[2 * BUILD_ID_MAX + 1]; /* hex, "" where it has none or it can't be read */
};

struct core_info {
    pid_t pid;       /* in the process's own pid namespace, as are all ids here */
    pid_t ppid;      /* 0 where the parent is outside of it */
    pid_t crash_tid; /* 0 where the core doesn't say */
    int signo;       /* 0 where the core doesn't say */

    bool has_siginfo;
    int si_code;
    uint64_t fault_address; /* si_addr of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP */
    pid_t sender_pid;       /* si_pid, where si_code says that someone sent it */
    uid_t sender_uid;       /* si_uid; <signal.h> makes macros of all three names */

    char comm[17];
    char args[81]; /* NT_PRPSINFO's: the first 80 characters */

    struct core_thread *threads; /* the crashing one first */
    size_t n_threads;
    struct core_mapping *mappings; /* those with a file, by address */
    size_t n_mappings;
    struct core_module *modules; /* the executable first where it is known, then by address */
    size_t n_modules;
    bool knows_executable; /* the first module is it */

    int root_fd; /* the process's root directory, below which the paths are; 0: this process's own;
                    not owned */
    uint64_t vdso; /* address of the kernel's code in the process, 0 where unknown */
    struct core_memory memory;
    char *paths; /* the text that the paths lie in */

    uint64_t file_size;     /* what is there */
    uint64_t expected_size; /* what the program headers promise */
    bool truncated;         /* file_size < expected_size */
};

/*
 * Reads a core's headers and notes. Nothing is logged: the caller knows whose file it is.
 *
 * Build-ids come from the core's own memory where the kernel dumped the page with a module's ELF
 * header (coredump_filter bit 4), otherwise from the file that is at the path now.
 *
 * @fd   the core, opened for reading; stays the caller's
 * @ret  to be freed with core_info_free()
 *
 * Returns 0, -ENOEXEC (no ELF core), -ENOTSUP (an ELF core, but a 32-bit one or of another
 * machine), -ENODATA (cut before its notes end), -ENOMEM or -errno of reading.
 */
int core_info_read(int fd, struct core_info **ret);

/*
 * The same of a process that is held: its notes as a core has them, its memory where it is.
 *
 * @notes_fd, @notes_size  the notes, from the file's beginning on
 * @memory     becomes the info's, also where this fails
 * @memory_fd  where the memory's segments are read from
 * @root_fd    the process's root directory, or 0 or less; must outlive the info
 *
 * Returns as core_info_read(); the sizes of a core are left to the caller.
 */
int core_info_of_process(int notes_fd, uint64_t notes_size, const struct core_memory *memory,
                         int memory_fd, int root_fd, struct core_info **ret);

/*
 * The same for a process that left no core: mappings and modules from the text of /proc/PID/maps
 * (proc(5)), everything else 0 or empty.
 *
 * @root_fd  as for core_info_of_process()
 *
 * Returns 0, -EFBIG (more than 64 MiB of text), -ENOMEM or -errno of reading.
 */
int core_info_from_maps(int maps_fd, int root_fd, struct core_info **ret);

/* The file mapping that an address lies in, or NULL. */
const struct core_mapping *core_info_find_mapping(const struct core_info *info, uint64_t address);

void core_info_free(struct core_info *info);

static inline void cleanup_core_info(struct core_info **info)
{
    core_info_free(*info);
}
#define _cleanup_core_info_ __attribute__((cleanup(cleanup_core_info)))
