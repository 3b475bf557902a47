#pragma once

/* What a multipart upload that was left has at the server (ListParts). */

#include "store/s3_upload.h"

/*
 * Fills in @upload->parts and @upload->algorithm.
 *
 * Returns 1, 0 (the upload can't be gone on with: the reason is logged; @upload->id is NULL where
 * it is no more), or as s3_send() (that isn't known).
 */
int s3_list_parts(struct s3_upload *upload);

/* Makes room for part @number. Returns 0, -EFBIG or -ENOMEM, with s3->failure. */
int s3_make_room(struct s3_upload *upload, unsigned number);
