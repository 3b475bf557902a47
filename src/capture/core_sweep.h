#pragma once

/*
 * The last resort for a relative core_pattern: the kernel says that it wrote a core, but it lies in
 * none of the directories that were seen. Creating a file changes its directory's mtime, so those
 * that changed since the process began are the ones to look into.
 */

#include <stdbool.h>
#include <time.h>

/*
 * Walks through every local file system that can hold a core, following no symbolic link. Those of
 * the network are left out: their server may not answer.
 *
 * @since    directories whose mtime is older are left out
 * @seconds  when it gives up
 * @each     gets the absolute path of a directory; returns true when it has found what it wants
 *
 * Returns 0, or -ETIME (it gave up), or -errno of opening the root directory.
 */
int core_sweep(const struct timespec *since, unsigned seconds,
               bool (*each)(const char *directory, void *context), void *context);
