#pragma once

/*
 * Sending while the bundle is made: one thread sends object after object, in the order in which
 * they were begun, and its owner makes them meanwhile.
 *
 * An object's bytes are read from the spool's file as it grows, part by part; where the spool takes
 * no more of them, from there on they come through memory, of at most two parts (one where they are
 * of 32 MiB), for which the maker waits. Parts have the sizes of s3_stream_part_bytes(), whatever
 * way their bytes come, so that an upload which was left can be resumed from the file.
 *
 * An object comes into being only where what was read of it has the digest of what was made. An
 * upload's id, and what was sent, are noted in the journal (spool.h) of the bundle that the spool
 * holds.
 *
 * One upload that fails after its retries ends all sending: a bucket that refuses one object
 * refuses the next. It stays resumable where there is a journal and the failure may pass.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bundle/name.h"
#include "store/s3.h"
#include "store/spool.h"

struct uploader;

/* One object on its way; the uploader's, until uploader_stop(). */
struct sending;

/* Of crash.json's early form, which is not journalled: it is sent again, whole, as the last. */
#define SENDING_EARLY ARTIFACT_KINDS

struct uploader_settings {
    struct s3_settings s3; /* its texts must live until uploader_wait_open() or uploader_stop() */
    const char *bundle_id; /* likewise, until uploader_stop() */
    struct spool *spool;   /* whose bundle's journal is kept; NULL: none */
    void (*prepare)(void); /* called in the thread before anything else; NULL: nothing */
    bool is_frugal;        /* one part in memory, never two */
};

/*
 * Starts the thread, with all signals blocked. It opens S3 by itself: that may take seconds, since
 * region and credentials may be asked for. Returns 0, -ENOMEM or -EAGAIN.
 */
int uploader_start(const struct uploader_settings *settings, struct uploader **ret);

/* Waits until S3 is open. Returns 0, or -errno as s3_open() (logged). */
int uploader_wait_open(struct uploader *uploader);

/* Nothing is sent beyond then (monotonic_ns(); 0: no limit): what is under way is left, resumable.
 * From any thread. */
void uploader_limit(struct uploader *uploader, int64_t deadline_ns);

/*
 * Begins an object whose bytes are still to be made; sending_end() or sending_abandon() is due.
 *
 * @kind  of the artifact, or SENDING_EARLY
 *
 * Returns 0 or -ENOMEM. Where nothing is sent any more, neither is this: sending_wait().
 */
int uploader_begin(struct uploader *uploader, enum artifact_kind kind, struct sending **ret);

/* Sends an artifact that is in the spool (send_file.h). Returns as uploader_begin(). */
int uploader_send_file(struct uploader *uploader, enum artifact_kind kind, struct sending **ret);

/* The object's first bytes lie in a file that grows. @fd: taken over. */
void sending_follow(struct sending *sending, int fd);

/* That many bytes are in the file by now. Never waits. */
void sending_grew(struct sending *sending, uint64_t size);

/*
 * Takes bytes behind those of the file, or all where there is none; nothing comes through the file
 * after that. Waits until there is room.
 *
 * Returns 0, -ECANCELED (it isn't sent any more: sending_wait()), -ENOMEM, -EFBIG (more than 242
 * GiB), or -errno of reading the file.
 */
int sending_push(struct sending *sending, const void *data, size_t size);

/* That was all. @sha256: of all of it, 64 hex digits. */
void sending_end(struct sending *sending, const char *sha256);

/* Its source failed: nothing of it stays in the bucket. */
void sending_abandon(struct sending *sending);

/*
 * Waits until it is sent, or won't be.
 *
 * @ret_why  why it isn't, in words; "" where it is
 *
 * Returns 0 or -errno: of S3, -ECANCELED (all sending ended before), -ETIMEDOUT (uploader_limit()),
 * -EBADMSG (what was read isn't what was made).
 */
int sending_wait(struct sending *sending, char *ret_why, size_t size);

/* As sending_wait(), without waiting: -EINPROGRESS where it isn't sent yet. */
int sending_look(struct sending *sending, char *ret_why, size_t size);

/* Whether all sending has ended, since something could not be sent. */
bool uploader_has_failed(struct uploader *uploader);

/* "s3://bucket/prefix"; "" until S3 is open. */
const char *uploader_destination(struct uploader *uploader);

/* Sends what was ended, leaves what wasn't, ends the thread and frees all; NULL is fine. */
void uploader_stop(struct uploader *uploader);
