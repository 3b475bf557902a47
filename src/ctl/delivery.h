#pragma once

/*
 * Getting artifacts out: into the spool, and at the same time over the network (artifact_sink.h,
 * uploader.h).
 */

#include "bundle/crash_json.h"
#include "ctl/deadline.h"
#include "store/spool.h"
#include "store/uploader.h"

struct delivery {
    struct bundle *bundle;     /* the caller's */
    struct spool *spool;       /* NULL: no cores dir */
    bool is_spool_lent;        /* it is the caller's, who closes it */
    bool is_adopted;           /* somebody before began this bundle */
    struct uploader *uploader; /* NULL: no bucket, or not connected (any more) */
    struct deadline *deadline; /* the caller's; NULL: none */
    struct spool_policy policy;

    struct sending *sendings[ARTIFACT_KINDS]; /* the latest of each, or NULL */
    struct sink *early; /* crash.json's early form, in its .part until the whole one takes its
                           place */
    bool has_lost;      /* something that could be made found no place */
    bool has_told;      /* that not all was sent */
};

static inline const struct crash_settings *delivery_settings(const struct delivery *delivery)
{
    return &delivery->bundle->record->settings;
}

/* Writes an artifact's bytes to a sink, from the beginning each time it is called. Returns 0 or
 * -errno. */
typedef int artifact_writer(void *context, struct sink *sink);

/* The artifact_writer of what is a file already. @context points at its descriptor. */
int write_file(void *context, struct sink *sink);

/*
 * Opens cores_dir, within the settings' limits, and takes an id for the bundle; where a collector
 * before this one began the crash's bundle there, that is taken over.
 *
 * Returns 0, -ENOENT where there is neither a cores dir nor a bucket (logged), or -errno where the
 * bundle can't be named.
 */
int delivery_open(struct delivery *delivery, struct bundle *bundle, struct deadline *deadline);

/* The same with a spool that holds the bundle already; it stays the caller's. */
void delivery_open_held(struct delivery *delivery, struct bundle *bundle, struct spool *spool,
                        struct deadline *deadline);

/*
 * Begins to send. It starts a thread: so not before a fork(2) that is to send. Where there is no
 * spool, waits until it is known whether S3 can be had.
 *
 * Returns 0, or -ENOENT where there is no place at all (logged).
 */
int delivery_connect(struct delivery *delivery);

/* Ends what delivery_connect() began; all that was ended is sent before. */
void delivery_disconnect(struct delivery *delivery);

/*
 * Makes one artifact, or makes it anew, or leaves it as it was; it is sent meanwhile. What became
 * of it is in the log and in bundle->artifacts[kind]; that it is in S3 only after
 * delivery_settle().
 *
 * Returns 0 if it is whole in the spool or in S3, -EREMOTEIO where no place takes it, -ETIME where
 * the deadline came before (crash.json and the core have none: the core's writer looks at it), or
 * the -errno of its source.
 */
int deliver(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
            void *context);

/*
 * Takes an artifact over that a collector before this one committed: it is sent, where it wasn't.
 *
 * Returns whether there is one.
 */
bool deliver_left(struct delivery *delivery, enum artifact_kind kind);

/* Whether an artifact is committed in the spool. */
bool delivery_has(const struct delivery *delivery, enum artifact_kind kind);

/* Leaves crash.json's early form, "complete": false, in the spool under its .part name, and sends
 * it: the final one takes its place. */
void deliver_early_account(struct delivery *delivery);

/* The early form, as it is by now, is all that there will be for the time being: the bundle stays
 * as one that was not finished, for whoever adopts it. */
void delivery_leave_unfinished(struct delivery *delivery);

/* Waits until everything is sent or won't be, and fills in what of it is in S3. */
void delivery_settle(struct delivery *delivery);

/*
 * Writes crash.json as things stand into the spool, in place of the one before.
 *
 * @is_final  it is sent too, or goes to S3 alone
 *
 * Returns as deliver().
 */
int deliver_account(struct delivery *delivery, bool is_final);

/* Whether the bundle stays in the cores dir, once the final crash.json is delivered. */
bool delivery_stays(const struct delivery *delivery);

/*
 * After the final crash.json: notes what was sent, removes from the spool what keep_local says, and
 * enforces its limits.
 *
 * Returns 0 (all that could be made is where it was to go), -EAGAIN (all of it is in the spool, but
 * not all was sent) or -EREMOTEIO (something is nowhere).
 */
int delivery_end(struct delivery *delivery);

/*
 * Removes what a process that was killed left of the bundle: all of it, unless it is whole.
 *
 * Returns whether a whole bundle is in the spool.
 */
bool delivery_abandon(struct delivery *delivery);

/* As delivery_disconnect(), and frees all. The bundle stays as it is, for whoever adopts it. */
void delivery_close(struct delivery *delivery);
