#pragma once

/*
 * A ZIP archive written as a stream: sizes and CRC follow each entry in a data descriptor, so
 * nothing is ever sought or held. APPNOTE.TXT 6.3.9; ZIP64 (4.5.3) where an entry or the archive
 * needs it; method 8, deflate (RFC 1951) by zlib.
 *
 * Errors stick: once a sink has failed, every further call returns the same error and writes
 * nothing, so a broken archive is never ended well.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "bundle/sink.h"

struct zip;

/* For an entry whose size nobody knows beforehand. */
#define ZIP_SIZE_UNKNOWN UINT64_MAX

/*
 * Begins an archive on a sink, which stays the caller's to commit and close.
 *
 * @level  zlib's, 1 to 9
 *
 * Returns 0, -EINVAL (no such level) or -ENOMEM.
 */
int zip_open(struct sink *sink, int level, struct zip **ret);

/*
 * Begins an entry; the one before must be ended.
 *
 * @name      stored as given, flagged as UTF-8 where it is; -EINVAL where it is empty, absolute,
 * ends in '/', has a ".." or is longer than 65535 bytes: such an archive would be a trap
 * @mode      st_mode with type and permissions, for unzip
 * @mtime     seconds since the epoch
 * @max_size  the most bytes the entry may get, or ZIP_SIZE_UNKNOWN; decides whether it is announced
 * as ZIP64, and need not be exact
 *
 * Returns 0 or -errno.
 */
int zip_entry_begin(struct zip *zip, const char *name, mode_t mode, time_t mtime,
                    uint64_t max_size);

/* Adds bytes to the entry. Returns 0, -EFBIG (4 GiB passed in spite of max_size) or -errno of the
 * sink. */
int zip_write(struct zip *zip, const void *data, size_t size);

/*
 * Adds @size zero bytes at a small part of zip_write()'s cost: a deflate block made once is
 * repeated and the CRC joined by crc32_combine_op(). Returns as zip_write().
 */
int zip_write_zeros(struct zip *zip, uint64_t size);

/* Ends the entry. Returns as zip_write(). */
int zip_entry_end(struct zip *zip);

/* Adds an empty directory: @name without the '/' at its end, otherwise as for an entry. */
int zip_add_directory(struct zip *zip, const char *name, mode_t mode, time_t mtime);

/* Writes the central directory. Returns 0 or -errno. The sink is not committed. */
int zip_finish(struct zip *zip);

/* Frees the archive's state, finished or not; NULL is fine. */
void zip_free(struct zip *zip);

static inline void cleanup_zip(struct zip **zip)
{
    zip_free(*zip);
}
#define _cleanup_zip_ __attribute__((cleanup(cleanup_zip)))
