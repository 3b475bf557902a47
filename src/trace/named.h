#pragma once

/* Processes by name, as an operator knows them. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a process is called: the last path part of its command line's first word, or where it has
 * none its comm. "" where there is no telling. */
void named_read(pid_t pid, char *ret, size_t size);

/* Whether a process is called so: by its command line, or by its comm, which the kernel cuts after
 * 15 bytes. */
bool named_is(pid_t pid, const char *name);

/*
 * Finds the processes of a name that live and have no ancestor of the same name: those that fork
 * workers, not the workers. The caller is none of them.
 *
 * @ret  the first @room of them, oldest first
 *
 * Returns how many there are.
 */
size_t named_find(const char *name, pid_t *ret, size_t room);
