#pragma once

/* What S3 answers with: small XML documents, read with expat, every byte distrusted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No reply of S3's to what we ask is longer. */
#define S3_MAX_REPLY_BYTES ((size_t)64 * 1024)

/* A part of a multipart upload, as ListParts tells of it. */
struct s3_part {
    unsigned number; /* 0: none */
    uint64_t size;
    char etag[128];
    char checksum[64]; /* in base64; "" where it was sent without one that we know */
};

/* The direct children of the root that we care for; "" where one is missing. Control characters
 * become blanks. */
struct s3_reply {
    char root[64];
    char code[64];
    char message[257]; /* cut where it is longer, at a whole character */
    char region[64];
    char upload_id[1025];
    char etag[128];
    char checksum[64];           /* of CRC64NVME, CRC32C or CRC32, as it was sent with */
    char checksum_algorithm[16]; /* of an upload */
    char is_truncated[8];
};

/* Gets each part of a ListPartsResult, in the document's order; numbers and sizes are what was
 * written there. */
typedef void (*s3_part_fn)(void *context, const struct s3_part *part);

/*
 * Reads one reply. White space before the document is passed over: servers send it to keep a
 * connection alive while they put an object together.
 *
 * @data     any @size bytes
 * @on_part  may have been called before an error comes to light; NULL: parts are passed over
 *
 * Returns 0, -ENODATA (nothing but white space), -EBADMSG (no XML, nested too deep, with a document
 * type, a value is too long to be one, or a part's number or size is none) or -ENOMEM. On error
 * @ret is empty.
 */
int s3_reply_parse(const char *data, size_t size, s3_part_fn on_part, void *context,
                   struct s3_reply *ret);
