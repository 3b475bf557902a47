#pragma once

/* Whether bundles would reach the bucket, tried out beforehand on an object of a few bytes. */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/s3.h"

/* How far a probe came; each step needs those before it. */
enum s3_probe_step {
    S3_PROBE_ADDRESS, /* bucket, region and endpoint make no address */
    S3_PROBE_CREDENTIALS,
    S3_PROBE_WRITE,
    S3_PROBE_PARTS,  /* written at once, but not in parts, as what is large is */
    S3_PROBE_DELETE, /* written, but not removed: the credentials need not allow that */
    S3_PROBE_DONE,
};

struct s3_probe {
    enum s3_probe_step failed; /* S3_PROBE_DONE: none */
    char why[3 * PATH_MAX];    /* of that step: reason and mend, as the server or we say it */

    char credentials[PATH_MAX + 512]; /* where they were found; "" where not */
    char destination[1536];           /* s3://bucket/prefix; "" where there is no address */
    char region[64];
    char url[2048];    /* of the bucket */
    char object[1200]; /* the key of the object that was tried */

    bool knows_clock;     /* the server answered */
    int64_t clock_offset; /* seconds that the own clock is ahead of the server's */
};

/*
 * Writes an object <key_prefix>/<name>, at once and then in parts, and removes it. Each request has
 * 7 s; behind the first one that nobody answers there is only the removal of what was sent.
 *
 * Returns 0 with whatever was found out, or -ENOMEM.
 */
int s3_probe(const struct s3_settings *settings, const char *name, struct s3_probe *ret);
