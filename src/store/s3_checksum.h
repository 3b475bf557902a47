#pragma once

/* The checksums that S3 verifies (Amazon S3 User Guide, "Checking object integrity"). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/s3_body.h"
#include "util/crc.h"
#include "util/digest.h"

/* In the order in which they are tried. Content-MD5 is what every server knows. */
enum s3_algorithm {
    S3_CRC64NVME,
    S3_CRC32C,
    S3_CRC32,
    S3_MD5,
    S3_ALGORITHMS,
};

#define S3_MAX_SUM_BYTES 16
#define S3_CHECKSUM_TEXT 48 /* any of them, with "-10000" and a NUL behind it */

struct s3_algorithm_facts {
    const char *setting; /* S3_CHECKSUM */
    const char *name;    /* x-amz-checksum-algorithm, and behind "Checksum" in XML; NULL for MD5 */
    const char *header;  /* that carries the checksum, in lower case */
    enum crc_kind crc;   /* CRC_NONE: MD5 */
    size_t sum_bytes;
    bool is_full_object; /* an object's in parts is that of its bytes, not of its parts' checksums:
                            of the others, servers before 2025 know nothing else */
};

const struct s3_algorithm_facts *s3_algorithm_facts(enum s3_algorithm algorithm);

/* By one of the two names, in any case of letters. Returns S3_ALGORITHMS where there is none. */
enum s3_algorithm s3_algorithm_of(const char *name);

/* What is known of a body before it is sent. */
struct s3_digest {
    char sha256[2 * SHA256_BYTES + 1]; /* for the signature */
    uint8_t sum[S3_MAX_SUM_BYTES];     /* big endian */
    char text[S3_CHECKSUM_TEXT];       /* the same in base64 */
};

/*
 * Reads a body once.
 *
 * @crc  zeroed before the first call
 *
 * Returns 0, -ENODATA (the file ends before), -EIO (libcrypto refused) or -errno of read(2).
 */
int s3_digest_body(enum s3_algorithm algorithm, struct crc *crc, const struct s3_body *body,
                   struct s3_digest *ret);

/* What goes into an object's checksum of each of its parts. */
struct s3_part_sum {
    uint64_t size;
    uint8_t sum[S3_MAX_SUM_BYTES];
};

/*
 * The checksum of an object that was sent in parts, as S3 writes it: base64, with the number of
 * parts behind it where it is one of checksums. Of MD5 it is what the object's ETag is then, in
 * hex.
 *
 * Returns 0, -EIO (libcrypto refused) or -ENOMEM.
 */
int s3_object_checksum(enum s3_algorithm algorithm, struct crc *crc,
                       const struct s3_part_sum *parts, unsigned n_parts,
                       char ret[S3_CHECKSUM_TEXT]);
