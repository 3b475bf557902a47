#pragma once

/* Whether a process can be made to make a system call (injected_call.h) without risk to it. */

#include <stdbool.h>
#include <stddef.h>

#include "ctl/target.h"

/*
 * A seccomp(2) filter may kill whoever calls what it doesn't expect, and can't be asked. So those
 * that this process has too are trusted, and no others: what a container's runtime installs, and
 * coreinit's own one.
 *
 * @why  where it isn't safe: one clause
 */
bool call_is_safe(const struct target *target, char *why, size_t why_size);
