#pragma once

/* SHA-256 by libcrypto. */

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* SHA-256 of a buffer, as 64 hex digits and a NUL. Returns 0 or -EIO (libcrypto refused). */
int sha256_hex(const void *data, size_t size, char ret[2 * SHA256_BYTES + 1]);

/*
 * SHA-256 of @size bytes of a file from @offset, as 64 hex digits and a NUL; the descriptor's
 * position is left alone. Returns 0 or -errno (-ENODATA: the file ends before).
 */
int sha256_hex_range(int fd, uint64_t offset, uint64_t size, char ret[2 * SHA256_BYTES + 1]);
