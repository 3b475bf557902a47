#pragma once

/*
 * The spool: cores_dir, flat. An artifact is written as NAME.part, flushed (fsync(2)) and renamed,
 * so a name without .part is a whole file. Everything is 0600; a directory that the spool makes is
 * 0700. The directory may be world-writable: nothing in it is followed or overwritten.
 */

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
 * collectors never share one.
 *
 * Returns 0, -EEXIST (taken, or one of its artifacts is there: try the next ordinal) or -errno.
 */
int spool_claim(struct spool *spool, const char *id);

/* Gives a claimed id back: removes the .part unless it was committed. */
void spool_release(struct spool *spool, const char *id);

/*
 * A sink that writes artifact @name. Committing replaces an artifact of the same name that this
 * process wrote before (crash.json's early form); closing without commit removes the .part.
 *
 * Returns 0 or -errno.
 */
int spool_sink(struct spool *spool, const char *name, struct sink **ret);

/* Opens a committed artifact for reading. Returns a descriptor or -errno. */
int spool_read(struct spool *spool, const char *name, uint64_t *ret_size);

/* Bytes that an unprivileged writer can still put there (statvfs(3)), or UINT64_MAX where unknown.
 */
uint64_t spool_free_bytes(struct spool *spool);

void spool_close(struct spool *spool);
