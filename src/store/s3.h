#pragma once

/*
 * S3 by libcurl (CURLOPT_AWS_SIGV4). Amazon S3 API Reference: PutObject, CreateMultipartUpload,
 * UploadPart, CompleteMultipartUpload, AbortMultipartUpload.
 */

#include <stddef.h>
#include <stdint.h>

#include "bundle/sink.h"

struct s3;

struct s3_settings {
    const char *bucket;
    const char *key_prefix; /* keys are <key_prefix>/<name>; slashes around it are dropped, and
                               "." or ".." as a part of it is refused */
    const char *region; /* of the ini file, "" where it has none; the environment goes before it */
    const char *endpoint; /* likewise; a URL with scheme and host */
};

/*
 * Resolves region, endpoint and credentials as the AWS SDKs read them (environment, then profile
 * files). Nothing is sent yet.
 *
 * Returns 0, -EINVAL (a setting is malformed, or the region is not known), -ENOKEY (no credentials
 * found) or -ENOMEM; the reason and the mend are logged.
 */
int s3_open(const struct s3_settings *settings, struct s3 **ret);

/* "s3://bucket/prefix", for people; owned by @s3. */
const char *s3_destination(const struct s3 *s3);

/*
 * Sends @size bytes of a file from its beginning as the object <key_prefix>/<name>: PutObject for
 * small ones, multipart above, part size chosen so that 10 000 parts suffice. A multipart upload
 * that fails is aborted. Every request's payload is signed (x-amz-content-sha256), so the server
 * verifies what it received. What may pass (5xx, 429, time-outs, resets) is tried three times.
 *
 * Returns 0, -EACCES (refused), -ENOENT (no such bucket), -EINVAL (wrong region), -ETIMEDOUT,
 * -ECONNREFUSED, -EHOSTUNREACH, -EPROTO (TLS or reply), -EFBIG, -ENAMETOOLONG (the key), -ENODATA
 * (the file is shorter), -ENOMEM or -EIO; the server's own code and message are logged once.
 * @ret_error, where not NULL, gets the same words for crash.json.
 */
int s3_put_file(struct s3 *s3, const char *name, int fd, uint64_t size, char *ret_error,
                size_t error_size);

/*
 * A sink that streams into <key_prefix>/<name> without touching the disk: small objects as one
 * PutObject at commit, larger ones as multipart whose parts grow from 8 MiB to 32 MiB (-EFBIG above
 * 242 GiB). One part is held in memory. Writing and committing return as s3_put_file(), and log
 * once. Closing without commit aborts the upload. @s3 must outlive it.
 *
 * Returns 0 or -ENOMEM.
 */
int s3_sink(struct s3 *s3, const char *name, struct sink **ret);

/* Why the last request that failed did: "AccessDenied (403): …". "" where none did; owned by @s3.
 */
const char *s3_last_error(const struct s3 *s3);

/* NULL is fine. */
void s3_close(struct s3 *s3);
