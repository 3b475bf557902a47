#pragma once

/* A program before its start: where it is, and whether it would lose something by being traced. */

#include <stdbool.h>
#include <stddef.h>

/* Finds a program as execvp(3) does. Returns false where it isn't there, or can't be executed. */
bool program_find(const char *program, char *ret, size_t size);

/*
 * Whether execve(2) gives a program privileges (set-uid, set-gid, file capabilities) that it would
 * not get while somebody without CAP_SYS_PTRACE traces it.
 *
 * @program  as execvp(3) takes it
 */
bool program_gains_privileges(const char *program);
