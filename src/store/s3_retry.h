#pragma once

/*
 * When a request is tried again: the AWS SDKs' "standard" mode (AWS SDKs and Tools Reference Guide,
 * "Retry behavior"), with pauses and attempts for a program that has minutes.
 */

#include <stdbool.h>

#include "store/aws_profile.h"

/* Zeroed before s3_retry_init(). */
struct s3_retry {
    unsigned max_attempts; /* of each request */
    unsigned tokens;       /* of all of them: where a server is down, few requests are in vain */
};

/* Reads AWS_MAX_ATTEMPTS and the profile's max_attempts; else there are 8. */
void s3_retry_init(struct s3_retry *retry, const struct aws_profile *profile);

/*
 * Whether a request that failed @attempts times may be tried once more, and after which pause: any
 * up to 1, 2, 4 … 20 s ("full jitter": many containers that crash together must not come back
 * together).
 */
bool s3_retry_again(struct s3_retry *retry, unsigned attempts, bool is_timeout,
                    unsigned *ret_pause_ms);

/* A request succeeded, at that attempt. */
void s3_retry_succeeded(struct s3_retry *retry, unsigned attempts);
