#pragma once

/* What the kernel must allow for a whole core: RLIMIT_CORE (setrlimit(2)) and coredump_filter
 * (core(5)). */

#include <stddef.h>
#include <sys/resource.h>

/*
 * Raises RLIMIT_CORE's hard limit to unlimited where CAP_SYS_RESOURCE allows it, and the soft one
 * to the hard one, for this process and so for the program.
 *
 * @ret  the limits now in force
 *
 * Returns 0 or -errno of getrlimit(2); that the hard limit can't be raised is no error.
 */
int limits_raise_core(struct rlimit *ret);

/*
 * Adds ELF headers (bit 4: build-ids) and private file pages (bit 2: what a debugger needs where
 * the file was replaced since) to coredump_filter; bits that someone set are kept. Inherited by the
 * program.
 *
 * Returns 0 or -errno (-ENOENT: a kernel without it, or no /proc).
 */
int limits_set_coredump_filter(void);

/* A core limit as text for people: "unlimited" or bytes; @ret takes at least 32 bytes. */
const char *limits_text(rlim_t limit, char *ret, size_t size);
