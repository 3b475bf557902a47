#pragma once

/*
 * The spool: cores_dir, flat. An artifact is written as NAME.part, flushed (fsync(2)) and renamed,
 * so a name without .part is a whole file. Everything is 0600; a directory that the spool makes is
 * 0700. The directory may be world-writable: nothing in it is followed or overwritten.
 *
 * Nothing here logs: a full or read-only spool is no error to a caller who has another place.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bundle/sink.h"

struct spool;

/*
 * Opens a spool directory, making it (and nothing above it) where it is missing.
 *
 * Returns 0, -ENOENT (its parent is missing), -EROFS, -EACCES, -ENOTDIR, -ELOOP (the directory
 * itself is a symbolic link), or -errno.
 */
int spool_open(const char *path, struct spool **ret);

/*
 * Takes a bundle id for this process: creates ID.crash.json.part exclusively, so that two
 * collectors never share one. A spool holds one claim at a time.
 *
 * Returns 0, -EEXIST (taken, or something of that bundle is there: try the next ordinal), -EBUSY
 * (this spool holds a claim), -ENAMETOOLONG, -EINVAL (no file name) or -errno.
 */
int spool_claim(struct spool *spool, const char *id);

/* Gives a claimed id back: removes the .part unless a sink has taken it over. */
void spool_release(struct spool *spool, const char *id);

/*
 * Removes what another process, to which this one left the claim of @id, had not finished: the
 * .part files, and the bundle's artifacts unless its crash.json says that they are whole.
 *
 * Returns whether they are.
 */
bool spool_abandon(struct spool *spool, const char *id);

/*
 * A sink that writes artifact @name; the spool must outlive it. The claimed id's first crash.json
 * is written into the claim's own .part; for every other name a .part that is there already is
 * refused.
 *
 * Committing never replaces a file, but for one that this process committed under that name before
 * (gdb's stack trace takes the place of libdw's). It returns -EEXIST where the name is taken,
 * -ESTALE where the .part is no longer our file, and the error of a write that failed earlier.
 * Closing without commit removes the .part.
 *
 * Returns 0, -EEXIST (the .part is there), -EINVAL or -ENAMETOOLONG (no usable file name) or
 * -errno; writing returns -ENOSPC also for a used-up quota.
 */
int spool_sink(struct spool *spool, const char *name, struct sink **ret);

/*
 * Opens a committed artifact for reading.
 *
 * Returns a descriptor, -ELOOP (a symbolic link), -EPERM (no regular file with one link) or -errno.
 */
int spool_read(struct spool *spool, const char *name, uint64_t *ret_size);

/* Frees the spool and gives its claim back; NULL is fine. */
void spool_close(struct spool *spool);
