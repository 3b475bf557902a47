#pragma once

/* A request's headers, sorted by name as Signature Version 4 wants them. */

#include <stddef.h>

/* More than any request has: what sets them is ours. */
#define S3_MAX_HEADERS 24

struct s3_header {
    const char *name; /* lower case; static */
    char *value;
};

/* Zeroed before use. */
struct s3_headers {
    struct s3_header all[S3_MAX_HEADERS];
    size_t n;
};

/*
 * Adds a copy of a header.
 *
 * @value  "" or NULL: nothing is added
 *
 * Returns 0, -EINVAL (it isn't printable ASCII, has a blank at an end or two of them beside each
 * other, or there are too many) or -ENOMEM.
 */
int s3_headers_add(struct s3_headers *headers, const char *name, const char *value);

/* Adds those of another list. Returns as s3_headers_add(). */
int s3_headers_append(struct s3_headers *headers, const struct s3_headers *more);

/* Wipes the values, of which one may be a session token, and frees them. */
void s3_headers_free(struct s3_headers *headers);

#define _cleanup_s3_headers_ __attribute__((cleanup(s3_headers_free)))
