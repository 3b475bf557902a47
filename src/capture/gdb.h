#pragma once

/* gdb, where the image has it: the fuller text of `thread apply all bt full`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Finds gdb: beside this executable (/opt/coreinit/bin), else along PATH. Returns 0 or -ENOENT. */
int gdb_find(char *ret, size_t size);

bool gdb_is_there(void);

/* The first line of `gdb --version`, "" where it gives none within some seconds. */
void gdb_version(const char *gdb, char *ret, size_t size);

/* Descriptors of what gdb is to read. */
struct gdb_files {
    int core_fd;
    int exe_fd;  /* -1: unknown */
    int root_fd; /* the directory below which libraries and debug files are; -1: / */
};

/*
 * Starts gdb in batch mode on a core, in a process group of its own, without the user's or the
 * directory's gdbinit, downloading nothing, its output going to @out_fd.
 *
 * It gets nothing of this process but standard streams, the files and PATH: no other descriptors,
 * no environment (which may hold credentials), default signal dispositions. It dies with its
 * parent, writes no core, at most 64 MiB of output, and is the first to go where memory runs out.
 *
 * Returns 0 with its pid, -ENOENT (no gdb in this image) or -errno.
 */
int gdb_start(const struct gdb_files *files, int out_fd, pid_t *ret_pid);

/*
 * Waits for gdb until a deadline (CLOCK_MONOTONIC, nanoseconds), then kills its process group.
 *
 * Returns 0, -ETIMEDOUT (killed at the deadline; what it printed until then is there), -EIO (it
 * died or failed; the reason is logged) or -errno.
 */
int gdb_finish(pid_t pid, int64_t deadline_ns);

/*
 * Copies gdb's text without its start-up noise (copyright, missing auto-load, "[New LWP n]", …):
 * from the line that tells how the program ended on, warnings about missing files kept. Stops after
 * 16 MiB, and says so in the text.
 *
 * Returns 1 if a stack was in it, 0 if not, or -errno of reading or writing.
 */
int gdb_clean(int in_fd, int out_fd);
