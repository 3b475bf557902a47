#pragma once

/*
 * Looking for files that match an expanded core_pattern. A component is opened only where it is no
 * symbolic link (openat(2) with O_NOFOLLOW one by one, which needs no openat2(2)): the directories
 * belong to whoever crashed.
 */

#include <stdbool.h>
#include <stddef.h>

struct core_candidate {
    int dir_fd; /* O_PATH; the search's */
    const char *name;
    const char *path; /* for people */
    bool is_exact;    /* no wildcard in the name: this is the very file */
};

/*
 * Tells every name that an absolute pattern matches, in no order; whether there is such a file, and
 * what it is, is for @found to see.
 *
 * @pattern  as core_pattern_expand() makes it, of which only '*' is a wildcard
 * @trusted  this many leading components may be symbolic links (the administrator's own)
 *
 * Returns 0, -ENAMETOOLONG, or -errno of a directory that cannot be opened.
 */
int core_search(const char *pattern, size_t trusted,
                void (*found)(const struct core_candidate *candidate, void *context),
                void *context);
