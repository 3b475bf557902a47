#pragma once

/* Whether a program would lose something by being traced. */

#include <stdbool.h>

/*
 * Whether execve(2) gives a program privileges (set-uid, set-gid, file capabilities) that it would
 * not get while somebody without CAP_SYS_PTRACE traces it.
 *
 * @program  as execvp(3) takes it
 */
bool program_gains_privileges(const char *program);
