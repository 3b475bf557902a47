#pragma once

/*
 * The stack trace of a core: libdw's at once, gdb's fuller one where there is a gdb. Both run in
 * processes of their own: a damaged core may take their time or their life, and costs just that.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "bundle/crash_json.h"
#include "capture/kernel_core.h"

struct stacktrace {
    int text_fd;    /* memfd: what .stacktrace holds, -1 where there is nothing */
    json_t *frames; /* the crashing thread's top frames, or NULL */

    pid_t gdb; /* 0: none runs */
    int gdb_fd;
    int64_t gdb_deadline; /* CLOCK_MONOTONIC, nanoseconds */
};

/*
 * Unwinds with libdw; the crashing thread's stack is in the log as soon as it is known.
 *
 * @exe_fd  the executable, or -1
 * @ret     to be freed with stacktrace_free(), also after an error
 *
 * Returns 0 with a text, or -errno with the reason logged.
 */
int stacktrace_unwind(const struct bundle *bundle, const struct kernel_core *core, int exe_fd,
                      struct stacktrace *ret);

/* Starts gdb in the background. Returns 0, -ENOENT (no gdb in this image) or -errno. */
int stacktrace_start_gdb(struct stacktrace *trace, const struct kernel_core *core, int exe_fd,
                         unsigned collect_timeout);

/*
 * Waits for gdb. Returns 1 if its text took the place of libdw's, 0 if not (the reason is logged).
 */
int stacktrace_finish_gdb(struct stacktrace *trace, const struct bundle *bundle);

void stacktrace_free(struct stacktrace *trace);
