#pragma once

/*
 * A ZIP archive written as a stream: sizes and CRC follow each entry in a data descriptor, so
 * nothing is ever sought or held. APPNOTE.TXT 6.3.9; ZIP64 (4.5.3) where an entry or the archive
 * needs it; method 8, deflate (RFC 1951) by zlib.
 */

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "bundle/sink.h"

struct zip;

/*
 * Begins an archive on a sink, which stays the caller's to commit and close.
 *
 * @level  zlib's, 1 to 9
 *
 * Returns 0 or -ENOMEM.
 */
int zip_open(struct sink *sink, int level, struct zip **ret);

/*
 * Begins an entry; the one before must be ended.
 *
 * @name   stored as given, UTF-8 flagged; neither absolute nor with ".." (-EINVAL)
 * @mode   st_mode with type and permissions, for unzip
 * @mtime  seconds since the epoch
 *
 * Returns 0 or -errno.
 */
int zip_entry_begin(struct zip *zip, const char *name, mode_t mode, time_t mtime);

/* Adds bytes to the entry. Returns 0 or -errno of the sink. */
int zip_write(struct zip *zip, const void *data, size_t size);

/*
 * Adds @size zero bytes at a small part of zip_write()'s cost: a deflate block made once is
 * repeated and the CRC joined by crc32_combine(). Returns 0 or -errno.
 */
int zip_write_zeros(struct zip *zip, uint64_t size);

/* Ends the entry. Returns 0 or -errno. */
int zip_entry_end(struct zip *zip);

/* Writes the central directory. Returns 0 or -errno. The sink is not committed. */
int zip_finish(struct zip *zip);

void zip_free(struct zip *zip);

static inline void cleanup_zip(struct zip **zip)
{
    zip_free(*zip);
}
#define _cleanup_zip_ __attribute__((cleanup(cleanup_zip)))
