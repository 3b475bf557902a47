#pragma once

/* What S3 answers with: small XML documents, read with expat, every byte distrusted. */

#include <stddef.h>

/* No reply of S3's to what we ask is longer. */
#define S3_MAX_REPLY_BYTES ((size_t)64 * 1024)

/* The direct children of the root that we care for; "" where one is missing. Control characters
 * become blanks. */
struct s3_reply {
    char root[64];
    char code[64];
    char message[257]; /* cut where it is longer, at a whole character */
    char region[64];
    char upload_id[1025];
};

/*
 * Reads one reply. White space before the document is passed over: servers send it to keep a
 * connection alive while they put an object together.
 *
 * @data  any @size bytes
 *
 * Returns 0, -ENODATA (nothing but white space), -EBADMSG (no XML, nested too deep, with a document
 * type, or a value is too long to be one) or -ENOMEM. On error @ret is empty.
 */
int s3_reply_parse(const char *data, size_t size, struct s3_reply *ret);
