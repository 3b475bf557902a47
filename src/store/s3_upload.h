#pragma once

/*
 * One object: as a single PutObject, or in parts (Amazon S3 User Guide, "Multipart upload"). Names
 * are the keys' last part, behind the prefix.
 *
 * Each request carries its payload's hash and checksum, which the server verifies; what it says it
 * has is compared with ours before anything is called sent. What may pass (5xx, 429, time-outs,
 * resets, DNS) is tried again, with pauses, as the AWS SDKs do (AWS_MAX_ATTEMPTS, 8).
 *
 * All of them return 0, or, with the words in s3_last_error():
 *   -EACCES        refused
 *   -ENOENT        there is no such bucket
 *   -EINVAL        the address, the region or another setting is wrong
 *   -EPROTO        the server's certificate, or what answers is no S3 server
 *   -ENAMETOOLONG  the key is longer than S3's 1024 bytes
 *   -EFBIG         it is more than 10 000 parts
 *   -ENODATA       the file is shorter
 *   -EBADMSG       the server has something else than what was sent
 *   -ETIMEDOUT     no answer, or the deadline of s3_set_deadline()
 *   -ECONNREFUSED, -EHOSTUNREACH, -ENOMEM, -EIO
 *   or as aws_chain_get()
 * Nothing is logged at error level: s3_report() does that, once.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/s3.h"
#include "store/s3_body.h"
#include "store/s3_checksum.h"
#include "store/s3_parts.h"
#include "store/s3_reply.h"

/* An object that is being sent in parts; zeroed before use, and @name must outlive it. */
struct s3_upload {
    struct s3 *s3;
    const char *name;
    char *id; /* unreserved characters and '%' alone; NULL where nothing is under way */
    enum s3_algorithm algorithm;
    unsigned n_parts;         /* that are at the server */
    uint64_t size;            /* of these */
    unsigned n_resumed;       /* of these, those that were there already */
    struct s3_part *parts;    /* these, then what else the server has; @n_room */
    struct s3_part_sum *sums; /* of these; @n_room */
    unsigned n_room;
    bool is_resumed_gone; /* the one that was to be gone on with is no more: it was aborted, or put
                             together */
};

/* Sends a whole object in one request, and compares it likewise. */
int s3_put_object(struct s3 *s3, const char *name, const struct s3_body *body);

/*
 * Begins an upload, or goes on with one that was left: its parts are listed, and one that is there
 * with the size and the checksum of what s3_upload_part() is given isn't sent again. Where that
 * upload is no more, or can't be gone on with, a new one is begun: @ret->id tells.
 *
 * @resume_id  an @id of before, as a journal keeps it; NULL: a new one. Anything else than an id's
 *             characters counts as NULL
 * @ret        has to be left or ended in any case
 */
int s3_upload_begin(struct s3 *s3, const char *name, const char *resume_id, struct s3_upload *ret);

/* The next part. One that failed may be tried again. */
int s3_upload_part(struct s3_upload *upload, const struct s3_body *body);

/*
 * The next part, but nothing is sent: for s3_upload_is_done().
 *
 * @upload  with @s3, @name and nothing else
 */
int s3_upload_reckon(struct s3_upload *upload, const struct s3_body *body);

/*
 * Whether the server has the object as it is of all that was reckoned: an upload that is no more
 * was completed, by somebody who was killed before that could be noted. Needs s3:GetObject.
 */
bool s3_upload_is_done(struct s3_upload *upload);

/*
 * Puts the object together, and compares what the server says it has with all that was sent
 * (s3_is_verified()). Where the reply was lost, the object is looked for: nothing is sent twice.
 * May be tried again.
 */
int s3_upload_complete(struct s3_upload *upload);

/* Frees the upload; what is at the server stays there, for s3_upload_begin() with its id. */
void s3_upload_leave(struct s3_upload *upload);

/* Frees the upload, and aborts it if it was not completed; s3_last_error() stays as it is. What
 * can't be aborted is logged: it costs money until someone removes it. */
void s3_upload_end(struct s3_upload *upload);

#define _cleanup_s3_upload_ __attribute__((cleanup(s3_upload_end)))

/* Logs s3_last_error() as the reason why @name could not be sent. Returns its error. */
int s3_report(const struct s3 *s3, const char *name);
