#pragma once

/* What is being made, sent part by part as it comes. */

#include <stddef.h>

#include "store/s3.h"
#include "store/sending.h"
#include "store/spool.h"

/*
 * Sends one object to its end: small ones in one request, larger ones in parts. An upload whose id
 * the journal has is gone on with; the id of a new one, and what was sent, are noted there.
 *
 * @spool  NULL: no journal
 * @why    the reason in words, where it fails
 *
 * Returns 0, -ECANCELED (its source failed: nothing of it stays in the bucket), -ESHUTDOWN (its
 * maker is gone), -EBADMSG (what was read isn't what was made) or as s3_upload_part(); logged once.
 */
int send_stream(struct s3 *s3, struct spool *spool, struct sending *sending, char *why,
                size_t why_size);
