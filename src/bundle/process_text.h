#pragma once

/* Single facts from the raw text of /proc/PID/stat, status and limits (proc(5)), which may be empty
 * or cut anywhere. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The process's name from the text of stat: what stands in the outer parentheses, "" if unknown. */
void process_comm(const char *stat, char *ret, size_t size);

/* The real one of the ids of a line ("Uid:", "Gid:") of status. Returns it, or -1 if unknown. */
int64_t process_real_id(const char *status, const char *line);

#define PROCESS_UNLIMITED UINT64_MAX

/*
 * A line of limits by its name ("Max open files").
 *
 * Returns true with both limits, PROCESS_UNLIMITED where they are; false where the line isn't
 * there.
 */
bool process_limit(const char *limits, const char *name, uint64_t *ret_soft, uint64_t *ret_hard);
