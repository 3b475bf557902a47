#pragma once

/* core_pattern of core(5): what the kernel does with a core, and what it calls the file. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
    pid_t pid;            /* %p: in its own pid namespace */
    pid_t initial_pid;    /* %P: in the initial pid namespace */
    pid_t tid;            /* %i */
    pid_t initial_tid;    /* %I */
    const char *comm;     /* %e: of the crashing thread */
    const char *exe;      /* %E: path of the executable, '/' becomes '!' */
    const char *hostname; /* %h */
    int64_t uid, gid;     /* %u %g, -1 where unknown */
    int signo;            /* %s */
    int64_t time;         /* %t: seconds since the epoch */
    int dumpable;         /* %d: PR_GET_DUMPABLE */
    int64_t core_limit;   /* %c: soft RLIMIT_CORE, as the kernel prints it; -1 where unknown */
    int cpu;              /* %C, Linux 6.1 */
};

/*
 * Expands a core_pattern template (core(5), and format_corename() of the kernel's fs/coredump.c)
 * into a glob(7) pattern that the core's path matches: known values stand as they are, with glob's
 * special characters escaped; unknown ones are '*'. Unknown specifiers and a lone % at the end are
 * dropped, as the kernel drops them. With @uses_pid and no %p in the pattern, ".PID" is added.
 *
 * @pattern  text of /proc/sys/kernel/core_pattern, no trailing newline
 * @ret      NUL-terminated, relative where the pattern is; its size in @size
 *
 * Returns 0, -ENOTSUP for a pipe or socket, -EOPNOTSUPP for an empty pattern, -ENAMETOOLONG.
 */
int core_pattern_expand(const char *pattern, bool uses_pid, const struct core_pattern_subject *who,
                        char *ret, size_t size);
