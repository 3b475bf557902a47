#pragma once

/* read(2) and write(2) that finish what they begin. Nothing here allocates. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all @size bytes. Returns 0 or -errno (-EIO where write(2) makes no progress). */
int write_all(int fd, const void *data, size_t size);

/* Writes a NUL-terminated text. Returns as write_all(). */
int write_text(int fd, const char *text);

/*
 * Reads until @size bytes or end of file; a short count means end of file.
 * Returns the number of bytes, or -errno.
 */
ssize_t read_full(int fd, void *data, size_t size);

/* As read_full(), from @offset, leaving the descriptor's position alone. */
ssize_t pread_full(int fd, void *data, size_t size, uint64_t offset);

/*
 * Reads the beginning of a small file (procfs, sysfs) into @ret, NUL-terminated, without the
 * trailing newline; what does not fit is left out.
 *
 * Returns the number of bytes before the NUL, or -errno.
 */
ssize_t read_text_at(int dir_fd, const char *path, char *ret, size_t size);
