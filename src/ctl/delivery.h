#pragma once

/*
 * Getting artifacts out: all of them into the spool first, then over the network; and what the
 * spool has no room for, or all where there is none, straight into S3.
 */

#include "bundle/crash_json.h"
#include "store/s3.h"
#include "store/spool.h"

struct delivery {
    struct bundle *bundle; /* the caller's */
    struct spool *spool;   /* NULL: no cores dir */
    struct s3 *s3;         /* NULL: no bucket, or it can't be reached: s3_error says why */
    char s3_error[256];
    struct sink
        *early; /* crash.json's early form, in its .part until the whole one takes its place */
};

/* Writes an artifact's bytes to a sink, from the beginning each time it is called. Returns 0 or
 * -errno. */
typedef int artifact_writer(void *context, struct sink *sink);

/* The artifact_writer of what is a file already. @context points at its descriptor. */
int write_file(void *context, struct sink *sink);

/*
 * Opens cores_dir and the bucket as far as they are to be had, and takes an id for the bundle.
 *
 * Returns 0, or -ENOENT where there is neither (logged).
 */
int delivery_open(struct delivery *delivery, struct bundle *bundle);

/*
 * Makes one artifact, or makes it anew. What became of it is in bundle->artifacts[kind] and in the
 * log.
 *
 * Returns 0 if it is whole in one place, -EREMOTEIO where no place takes it, or the -errno of its
 * source.
 */
int deliver(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
            void *context);

/*
 * Sends an artifact that is in the spool, unless it was sent already. After a failed upload nothing
 * more is sent: a bucket that refuses one object refuses the next.
 */
void deliver_to_s3(struct delivery *delivery, enum artifact_kind kind);

/* Leaves crash.json's early form in the spool, under its .part name. */
void keep_early_account(struct delivery *delivery);

/* Sends crash.json's early form, "complete": false; the final one replaces it. */
void send_early_account(struct delivery *delivery);

/* Writes crash.json as things stand, in place of the one before. Returns as deliver(). */
int deliver_account(struct delivery *delivery);

/*
 * Removes what a process that was killed left of the bundle: all of it, unless it is whole.
 *
 * Returns whether a whole bundle is in the spool.
 */
bool delivery_abandon(struct delivery *delivery);

void delivery_close(struct delivery *delivery);
