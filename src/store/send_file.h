#pragma once

/*
 * An artifact that is whole in the spool, sent to S3 in a way that survives its sender: the
 * bundle's journal (journal.h) tells the next one how far it came.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bundle/name.h"
#include "store/s3.h"
#include "store/spool.h"

struct sent_file {
    uint64_t size; /* of the file, as the next: "" where it could not be read */
    char sha256[65];
    bool was_sent;      /* before: the journal says so of these very bytes */
    bool is_unreadable; /* the error is the file's, not S3's */
    char why[512];      /* it isn't sent, in words for crash.json; "" where it is */
};

/*
 * Sends an artifact of the bundle that the spool holds as <key_prefix>/<id><suffix>, unless it was
 * sent before. The id of a multipart upload is noted before its first part is sent, and one that
 * was left is gone on with; its parts are those of s3_stream_part_bytes(), as uploader.h sends
 * them. After a failure it is left for the next one. Size and digest are noted once the object is
 * there, and before that it is where it could not be compared (spool_is_verified()).
 *
 * Returns 0, as spool_read() or -errno of read(2), or as s3_upload.h says; what went wrong is
 * logged once, but not that there is no such artifact (-ENOENT, @is_unreadable).
 */
int send_file(struct s3 *s3, struct spool *spool, const char *id, enum artifact_kind kind,
              struct sent_file *ret);

/*
 * Removes from the bucket what was sent of an artifact that nobody is going to end: the parts of
 * the upload that the journal of the held bundle names, if there is one. What fails is logged.
 */
void send_file_abandon(struct s3 *s3, struct spool *spool, const char *id, enum artifact_kind kind);
