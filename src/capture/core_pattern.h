#pragma once

/* core_pattern of core(5): what the kernel does with a core, and what it calls the file. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kernel's settings, which containers share with their host. */
struct core_settings {
    char pattern[256]; /* kernel.core_pattern; the kernel keeps at most 127 bytes */
    bool uses_pid;     /* kernel.core_uses_pid */
    int suid_dumpable; /* fs.suid_dumpable: 0, 1 or 2 (only to an absolute path, readable by root)
                        */
};

/* Reads the settings from procfs. Returns 0 or -errno (-ENOENT: there is no procfs). */
int core_settings_read(struct core_settings *ret);

/* How a core_pattern sends a core away. */
enum core_pattern_kind {
    CORE_PATTERN_FILE,
    CORE_PATTERN_PIPE,   /* "|program": Linux 2.6.19 */
    CORE_PATTERN_SOCKET, /* "@path": Linux 6.16 */
    CORE_PATTERN_EMPTY,  /* "" without core_uses_pid: no core at all */
};

/* Tells the kind by the first character, as fs/coredump.c does. */
enum core_pattern_kind core_pattern_kind(const char *pattern, bool uses_pid);

/*
 * One process, as far as it is known. What isn't known (-1, NULL) becomes a wildcard in the
 * expansion: a container doesn't see the initial namespace's pids, and the kernel's clock has gone
 * on.
 */
struct core_pattern_subject {
    int64_t pid;            /* %p: in its own pid namespace */
    int64_t initial_pid;    /* %P: in the initial pid namespace */
    int64_t tid;            /* %i */
    int64_t initial_tid;    /* %I */
    int64_t uid;            /* %u: in the initial user namespace */
    int64_t gid;            /* %g: likewise */
    int64_t dumpable;       /* %d: PR_GET_DUMPABLE */
    int64_t signo;          /* %s */
    int64_t time;           /* %t: seconds since the epoch */
    int64_t cpu;            /* %C: Linux 6.2 */
    const char *hostname;   /* %h */
    const char *comm;       /* %e: of the crashing thread */
    const char *exe;        /* %E: path of the executable; %f (Linux 5.9): its last part */
    const char *core_limit; /* %c: soft RLIMIT_CORE in decimal; 2^64-1 is what unlimited prints */
};

/* Nothing is known: every specifier is a wildcard. */
#define CORE_PATTERN_SUBJECT_UNKNOWN                                                               \
    ((struct core_pattern_subject){.pid = -1,                                                      \
                                   .initial_pid = -1,                                              \
                                   .tid = -1,                                                      \
                                   .initial_tid = -1,                                              \
                                   .uid = -1,                                                      \
                                   .gid = -1,                                                      \
                                   .dumpable = -1,                                                 \
                                   .signo = -1,                                                    \
                                   .time = -1,                                                     \
                                   .cpu = -1})

/*
 * Expands a core_pattern template (core(5), and format_corename() of the kernel's fs/coredump.c,
 * coredump_parse() since Linux 6.17) into a glob(7) pattern that the core's path matches: known
 * values stand as they are, with glob's special characters escaped; unknown ones are '*'. Unknown
 * specifiers and a lone % at the end are dropped, as the kernel drops them; so is %F, which has a
 * value in pipe patterns only. With @uses_pid and no %p in the pattern, ".PID" is added.
 *
 * Values that a process chooses itself (%h %e %E %f) can't make path components, in the kernel or
 * here: '/' becomes '!', and so does the first dot of "." and ".."; an empty one is "!".
 *
 * @pattern  text of /proc/sys/kernel/core_pattern, no trailing newline
 * @ret      NUL-terminated, relative where the pattern is; its size in @size
 *
 * Returns 0, -ENOTSUP for a pipe or socket, -EOPNOTSUPP where no name is left, -ENAMETOOLONG.
 */
int core_pattern_expand(const char *pattern, bool uses_pid, const struct core_pattern_subject *who,
                        char *ret, size_t size);
