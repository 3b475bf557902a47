#pragma once

/*
 * AWS Signature Version 4 (Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version
 * 4)"), for S3's requests.
 *
 * libcurl signs too, but before 8.10 it sorts headers with their values, so that
 * x-amz-server-side-encryption comes behind …-aws-kms-key-id and the signature is wrong. Besides,
 * here nobody else keeps a copy of the secret, and the clock is the server's.
 */

#include <time.h>

#include "store/aws_credentials.h"
#include "store/s3_headers.h"

struct s3_signed_request {
    const char *method;
    const char *url; /* percent-encoded once and fully; its query sorted, each parameter with '=' */
    const char *region;
    const char *sha256; /* of the payload, in hex */
    time_t now;         /* as the server's clock has it */
};

/*
 * Adds host, x-amz-date, x-amz-content-sha256, the session token where there is one, and
 * authorization. All headers that are there already are signed.
 *
 * Returns 0, -EINVAL, -EIO (libcrypto refused) or -ENOMEM.
 */
int s3_sign(const struct s3_signed_request *request, const struct aws_credentials *credentials,
            struct s3_headers *headers);
