#pragma once

/* An object's bytes on their way, with a checksum that the server knows, and what it says of them
 * afterwards. */

#include "store/s3_client.h"

/* What PutObject or UploadPart sends. */
struct s3_content {
    const char *name;
    const char *query; /* or NULL */
    const struct s3_body *body;
    bool makes_object;
    uint64_t *reported; /* as s3_request's */
};

/*
 * Sends some of an object's content with its checksum.
 *
 * @digest    of the body, by @algorithm
 * @response  of the attempt that succeeded
 *
 * Returns 1 (the server says that it has what was sent), 0 (it says nothing), -EBADMSG (three times
 * it had something else), or as s3_send().
 */
int s3_send_content(struct s3 *s3, const struct s3_content *content, enum s3_algorithm algorithm,
                    const struct s3_digest *digest, struct s3_response *response);

/* What a server says that it has; each text "" where it doesn't say. */
struct s3_claim {
    const char *checksum;
    const char *etag;
    const char *encryption; /* with KMS, an ETag is no MD5 */
};

/*
 * Compares what a server says that it has with what was sent.
 *
 * @expected  checksum as S3 writes it, for S3_MD5 in hex as in ETags
 *
 * Returns 1 (the same), 0 (there is nothing to compare), or -EBADMSG with s3->failure.
 */
int s3_compare(struct s3 *s3, enum s3_algorithm algorithm, const char *expected,
               const struct s3_claim *claim);

/*
 * Asks the server what it has under a name (HeadObject, which needs s3:GetObject).
 *
 * Returns 1 or -EBADMSG as s3_compare(); 0 (an object of that size, and nothing else to compare);
 * or as s3_send(), -ENOENT where there is none.
 */
int s3_look_up(struct s3 *s3, const char *name, enum s3_algorithm algorithm, const char *expected,
               uint64_t size);

/* The MD5 of an ETag, quotation marks taken away: what it is to be compared with. */
bool s3_etag_is(const char *etag, const char *md5_hex);

/*
 * Whether to try the next kind of checksum, this one being unknown to the server.
 *
 * @r  of the request that carried it: 0 where the reply didn't show it
 */
bool s3_goes_on(struct s3 *s3, enum s3_algorithm algorithm, int r);
