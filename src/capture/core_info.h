#pragma once

/*
 * What an ELF core tells about the process it was: elf(5), and the note layouts of the kernel's
 * fs/binfmt_elf.c. Read with libelf; every offset in the file is distrusted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct core_thread {
    pid_t tid;
    char name[17]; /* "" where unknown: the kernel's core doesn't name threads */
};

/* One line of NT_FILE or of /proc/PID/maps that has a path. */
struct core_mapping {
    uint64_t start, end; /* addresses */
    uint64_t offset;     /* bytes into the file */
    char *path;
};

/* An ELF file that was mapped, the executable included. */
struct core_module {
    char *path;                /* as the process saw it */
    uint64_t start;            /* lowest address it was mapped at */
    char build_id[2 * 64 + 1]; /* hex, "" where it has none or it can't be read */
};

struct core_info {
    pid_t pid;
    pid_t crash_tid; /* 0 where the core doesn't say */
    int signo;       /* 0 where the core doesn't say */

    bool has_siginfo;
    int si_code;
    uint64_t si_addr; /* for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP */
    pid_t si_pid;     /* the sender, where si_code says that someone sent it */
    uid_t si_uid;

    char comm[17];
    char args[81]; /* NT_PRPSINFO's: the first 80 characters */

    struct core_thread *threads; /* the crashing one first */
    size_t n_threads;
    struct core_mapping *mappings; /* those with a file, by address */
    size_t n_mappings;
    struct core_module *modules; /* the executable first where it is known */
    size_t n_modules;

    uint64_t file_size;     /* what is there */
    uint64_t expected_size; /* what the program headers promise */
    bool truncated;         /* file_size < expected_size */
};

/*
 * Reads a core's headers and notes.
 *
 * @fd   the core, opened for reading; stays the caller's
 * @ret  to be freed with core_info_free()
 *
 * Returns 0, -ENOEXEC (no ELF core, or one of another machine's byte order or class), -ENODATA (cut
 * before its notes end), -ENOMEM or -errno of reading.
 */
int core_info_read(int fd, struct core_info **ret);

/*
 * The same for a process that left no core: mappings and modules from the text of /proc/PID/maps
 * (proc(5)), everything else 0 or empty.
 *
 * Returns 0, -ENOMEM or -errno of reading.
 */
int core_info_from_maps(int maps_fd, struct core_info **ret);

void core_info_free(struct core_info *info);

static inline void cleanup_core_info(struct core_info **info)
{
    core_info_free(*info);
}
#define _cleanup_core_info_ __attribute__((cleanup(cleanup_core_info)))
