#pragma once

/* S3 by libcurl: a bucket, and how it is reached (Amazon S3 API Reference). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct s3;

/* Each text may be NULL or "", but for the bucket; all of them are copied. */
struct s3_settings {
    const char *bucket;
    const char *key_prefix; /* keys are <key_prefix>/<name>; slashes around it are dropped, and
                               "." or ".." as a part of it is refused */
    const char *region; /* of the ini file, "" where it has none; the environment goes before it */
    const char *endpoint; /* likewise; a URL with scheme and host */

    const char *sse;                    /* AES256, aws:kms, aws:kms:dsse */
    const char *sse_kms_key_id;         /* id, ARN or alias */
    const char *storage_class;          /* STANDARD_IA, … */
    const char *tags;                   /* in the form of a URL's query: k=v&k2=v2 */
    const char *expected_bucket_owner;  /* 12 digits: another account's bucket gets nothing */
    const char *request_payer;          /* requester */
    const char *checksum;               /* auto, crc64nvme, crc32c, crc32, md5 */
    const char *crash_id;               /* goes into each object's metadata, percent-encoded:
                                           x-amz-meta-crash-id */
    bool allow_http;                    /* to more than the loopback addresses */
    const _Atomic int64_t *deadline_ns; /* by when region and credentials are known, and renewed; it
                                           may move (monotonic_ns(), 0: none). NULL: the bucket's */
    uint64_t upload_rate;               /* bytes per second, 0: no limit */
};

/*
 * Resolves region, endpoint, certificate authorities and credentials as the AWS SDKs do. The bucket
 * isn't asked yet; the sources of region and credentials may be (STS, ECS, EKS, EC2).
 *
 * Returns 0, -EINVAL (a setting is malformed), -ENOKEY (no credentials found), as aws_chain_get(),
 * or -ENOMEM; the reason and the mend are logged.
 */
int s3_open(const struct s3_settings *settings, struct s3 **ret);

/* "s3://bucket/prefix", for people and for a bundle's journal; owned by @s3. */
const char *s3_destination(const struct s3 *s3);

/*
 * No request, pause or try goes on beyond then: it returns -ETIMEDOUT, a running one within a
 * second. May be called at any time, from other threads too; the last call counts.
 *
 * @monotonic_ns  of CLOCK_MONOTONIC, 0: none
 */
void s3_set_deadline(struct s3 *s3, int64_t monotonic_ns);

/*
 * Has a function called with the payload bytes that left since it was called before, from within
 * the thread that sends. What is sent again doesn't count again, and what a resumed upload finds at
 * the server does: over an object that arrives, the bytes add up to its size. NULL: none.
 */
void s3_on_progress(struct s3 *s3, void (*on_progress)(void *context, uint64_t bytes),
                    void *context);

/* Whether @error, of a function of s3.h or s3_upload.h, is one that time alone doesn't mend: what
 * is set, allowed or there has to change first. */
bool s3_is_hopeless(int error);

/*
 * Whether the last object that was sent was compared as a whole, by what the server says it has.
 * Where it tells nothing to compare, or doesn't let it be looked at, what it took each part with is
 * all that is known: nothing local may go for that.
 */
bool s3_is_verified(const struct s3 *s3);

/* Why the last request that failed did: "AccessDenied (403): …". "" where none did; owned by @s3.
 */
const char *s3_last_error(const struct s3 *s3);

/* NULL is fine. */
void s3_close(struct s3 *s3);
