#pragma once

/*
 * Getting artifacts out: the spool first, the network second; and where the spool has no room or
 * doesn't exist, straight into S3.
 */

#include "bundle/crash_json.h"
#include "store/s3.h"
#include "store/spool.h"

struct delivery {
    struct bundle *bundle; /* the caller's */
    struct spool *spool;   /* NULL: no cores dir */
    struct s3 *s3;         /* NULL: no bucket, or it can't be reached: s3_error says why */
    char s3_error[256];
};

/* Writes an artifact's bytes to a sink, from the beginning each time it is called. Returns 0 or
 * -errno. */
typedef int artifact_writer(void *context, struct sink *sink);

/*
 * Opens cores_dir and the bucket as far as they are to be had, and takes an id for the bundle.
 *
 * Returns 0, or -ENOENT where there is neither (logged).
 */
int delivery_open(struct delivery *delivery, struct bundle *bundle);

/*
 * Makes one artifact, or makes it anew, and sends it. What became of it is in
 * bundle->artifacts[kind] and in the log. After a failed upload nothing more is sent: a bucket that
 * refuses one object refuses the next.
 *
 * Returns 0 if the artifact is whole in at least one place, or -errno.
 */
int deliver(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
            void *context);

/* Leaves crash.json's early form: in the spool under its .part name, in S3 until the final one
 * replaces it. */
void deliver_early_account(struct delivery *delivery);

/* Writes the final crash.json. Returns as deliver(). */
int deliver_account(struct delivery *delivery);

void delivery_close(struct delivery *delivery);
