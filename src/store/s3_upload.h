#pragma once

/* One object: as a single PutObject, or in parts (Amazon S3 User Guide, "Multipart upload"). */

#include <stdint.h>
#include <stdio.h>

#include "store/s3_client.h"

/* Amazon S3's limits of a multipart upload. */
#define S3_MAX_PARTS 10000u
#define S3_MAX_PART_BYTES ((uint64_t)5 << 30)

/* Up to this size an object is sent in one piece. */
#define S3_SINGLE_PUT_BYTES ((uint64_t)16 << 20)

/*
 * Size of the parts of a file of @size bytes: 16 MiB, more where 10 000 of those don't suffice, in
 * whole MiB. 0 where the file is larger than any upload can be.
 */
uint64_t s3_file_part_bytes(uint64_t size);

/*
 * Size of part @number (from 1) of a stream whose length is not known: 1 000 parts of 8 MiB, 3 000
 * of 16 MiB, 6 000 of 32 MiB, which is 242 GiB in all. 0 behind the last one.
 */
size_t s3_stream_part_bytes(unsigned number);

/* Sends a whole object in one request. Returns as s3_send(). */
int s3_put_object(struct s3 *s3, const char *name, const struct s3_body *body);

/* An object that is being sent in parts; zeroed before use, and its @name must outlive it. */
struct s3_upload {
    struct s3 *s3;
    const char *name;
    char *id; /* percent-encoded; NULL where nothing is under way */
    unsigned n_parts;
    FILE *list; /* writes the list of parts for CompleteMultipartUpload to @xml */
    char *xml;
    size_t xml_size;
};

/* CreateMultipartUpload. Returns as s3_send(); @ret has to be ended in any case. */
int s3_upload_begin(struct s3 *s3, const char *name, struct s3_upload *ret);

/* UploadPart, the next one. Returns as s3_send(). */
int s3_upload_part(struct s3_upload *upload, const struct s3_body *body);

/* CompleteMultipartUpload. Returns as s3_send(). */
int s3_upload_complete(struct s3_upload *upload);

/* Frees the upload, and aborts it (AbortMultipartUpload) if it was not completed; s3->failure stays
 * as it is. What can't be aborted is logged: it costs money until someone removes it. */
void s3_upload_end(struct s3_upload *upload);

#define _cleanup_s3_upload_ __attribute__((cleanup(s3_upload_end)))
