#pragma once

/* Which server an object goes to, and its URL there. */

#include <stdbool.h>
#include <stddef.h>

#include "store/aws_profile.h"
#include "store/s3.h"

struct s3_address {
    char bucket[256];
    char prefix[1025]; /* without slashes around it */
    char region[64];
    char base[2048]; /* URL that the key's path is added to, without a slash behind it */
    bool is_custom;  /* an endpoint was set: @base is there, whatever the region is */
    bool is_fips, is_dualstack;
};

/*
 * Resolves bucket, region and endpoint.
 *
 * Region: AWS_REGION, AWS_DEFAULT_REGION, the profile's, the setting, the EC2 instance's; us-east-1
 * where nothing tells it: a bucket that is elsewhere says so. Endpoint: AWS_ENDPOINT_URL_S3,
 * AWS_ENDPOINT_URL, the profile's endpoint_url (none of the three where
 * AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is true), the setting, else AWS's own for the region, with
 * AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT or the profile's. AWS's is addressed in
 * virtual-host style, https://BUCKET.s3.REGION.…, except where the bucket's name has dots (no
 * wildcard certificate covers them) or is no DNS label; a custom one in path style. Without TLS it
 * must be a loopback address, or the setting allows it.
 *
 * @why  where that fails: the reason and the mend, for people
 *
 * Returns 0 or -EINVAL.
 */
int s3_address_resolve(const struct s3_settings *settings, const struct aws_profile *profile,
                       struct s3_address *ret, char *why, size_t why_size);

/*
 * Goes to another region, of which a server said that the bucket is there. A custom endpoint stays
 * where it is, and its requests are signed for that region.
 *
 * Returns 0, or -EINVAL (it is no region's name, none of the same partition, or no other one).
 */
int s3_address_move(struct s3_address *address, const char *region);

/*
 * Goes where a server's Location points, if that is the bucket at another of S3's own hosts of the
 * same partition. The region, and what is signed for it, stays.
 *
 * Returns 0, or -EINVAL (it is anything else, or the endpoint must be a custom or a FIPS one).
 */
int s3_address_follow(struct s3_address *address, const char *location);

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
 * Percent-encodes a query's value: every byte but the unreserved ones.
 *
 * Returns a text to be freed with free(), or NULL when out of memory.
 */
char *s3_encode_value(const char *value);
