#pragma once

/* Whether the kernel would make a core of a process (PR_GET_DUMPABLE, prctl(2)), seen from outside.
 */

#include <sys/types.h>

/*
 * Finds out by what procfs lets others see of the process.
 *
 * @status  text of its /proc/PID/status
 *
 * Returns 1, 0 (it is not: it called prctl(2), changed its user or gained privileges), or -ENODATA:
 * root's processes can be told only by who lacks CAP_SYS_PTRACE and has what else they have.
 */
int process_dumpable(pid_t pid, const char *status);
