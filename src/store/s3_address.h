#pragma once

/* Which server an object goes to, and its URL there. */

#include "store/aws_profile.h"
#include "store/s3.h"

struct s3_address {
    char bucket[256];
    char prefix[1025]; /* without slashes around it */
    char region[64];
    char base[2048]; /* URL that the key's path is added to, without a slash behind it */
};

/*
 * Resolves bucket, region and endpoint.
 *
 * Region: AWS_REGION, AWS_DEFAULT_REGION, the profile's, the setting; us-east-1 where a custom
 * endpoint leaves it open. Endpoint: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the setting, else AWS's
 * own for the region. AWS's is addressed in virtual-host style, https://BUCKET.s3.REGION.…, except
 * where the bucket's name has dots (no wildcard certificate covers them) or is no DNS label; a
 * custom one in path style.
 *
 * @why  where that fails: the reason and the mend, for people
 *
 * Returns 0 or -EINVAL.
 */
int s3_address_resolve(const struct s3_settings *settings, const struct aws_profile *profile,
                       struct s3_address *ret, char *why, size_t why_size);

/*
 * The URL of one object, percent-encoded once and fully: only unreserved characters (RFC 3986) and
 * the slash stand as they are, so that the path is already what Signature Version 4 wants to see.
 *
 * @query  sorted and encoded already, or NULL
 * @ret    to be freed with free()
 *
 * Returns 0, -ENAMETOOLONG (S3's keys have at most 1024 bytes), -EINVAL (".." is a part of @name)
 * or -ENOMEM.
 */
int s3_address_url(const struct s3_address *address, const char *name, const char *query,
                   char **ret);

/*
 * Percent-encodes a query's value: every byte but the unreserved ones. (libcurl 8 before 8.19 signs
 * a '+' in a query wrongly, however it is written; Amazon's upload ids have none.)
 *
 * Returns a text to be freed with free(), or NULL when out of memory.
 */
char *s3_encode_value(const char *value);
