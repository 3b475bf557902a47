#pragma once

/*
 * The stack trace of a crash: libdw's at once, gdb's fuller one where there is a gdb. Both run in
 * processes of their own: a damaged core may take their time or their life, and costs just that.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "bundle/crash_json.h"
#include "ctl/deadline.h"

struct stacktrace {
    const struct bundle *bundle;
    struct deadline *deadline; /* what both have to keep too; NULL: none */
    int text_fd;               /* memfd: the stacks, -1 where there is nothing */
    json_t *frames;            /* the crashing thread's top frames, or NULL */

    pid_t unwinder;            /* 0: none runs */
    int unwound_fd, frames_fd; /* what it tells */
    int64_t unwind_deadline;   /* CLOCK_MONOTONIC, nanoseconds */

    pid_t gdb;   /* 0: none runs */
    int core_fd; /* what it reads */
    int gdb_fd;
    int64_t gdb_deadline; /* CLOCK_MONOTONIC, nanoseconds */
};

/*
 * Begins to unwind with libdw, in a process; the crashing thread's stack is in the log as soon as
 * it is known.
 *
 * @memory_fd  what the memory of the bundle's info lies in: the core, or /proc/PID/mem
 * @exe_fd     the executable, or -1
 * @deadline   or NULL
 * @ret        to be freed with stacktrace_free(), also after an error; bundle and deadline must
 *             outlive it
 *
 * Returns 0, or -errno with the reason logged.
 */
int stacktrace_start_unwind(const struct bundle *bundle, int memory_fd, int exe_fd,
                            struct deadline *deadline, struct stacktrace *ret);

/* Waits for what was begun, if anything was. Returns 0 with a text, or -errno with the reason
 * logged. */
int stacktrace_finish_unwind(struct stacktrace *trace);

/* The artifact_writer of .stacktrace: a heading, and the text. @context is a struct stacktrace. */
int stacktrace_write(void *context, struct sink *sink);

/*
 * Starts gdb in the background.
 *
 * @core_fd  a core; taken over, also after an error
 *
 * Returns 0, -ENOENT (no gdb in this image) or -errno.
 */
int stacktrace_start_gdb(struct stacktrace *trace, int core_fd, int exe_fd,
                         unsigned collect_timeout);

/*
 * Waits for gdb. Returns 1 if its text took the place of libdw's, 0 if not (the reason is logged).
 */
int stacktrace_finish_gdb(struct stacktrace *trace);

void stacktrace_free(struct stacktrace *trace);
