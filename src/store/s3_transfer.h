#pragma once

/* One attempt at a request, by libcurl. */

#include "store/s3_client.h"

/*
 * Makes s3->curl, with all that stays the same from request to request. Nothing is sent yet.
 *
 * Returns 0 or -ENOMEM; s3->curl is the caller's to free in any case.
 */
int s3_transfer_prepare(struct s3 *s3, const char *ca_bundle);

/*
 * Sends a request and sorts out what came back. What happens at the deadline is s3->failure, too.
 *
 * @headers  signed
 *
 * Returns as s3_send().
 */
int s3_transfer(struct s3 *s3, const struct s3_request *request, const char *url,
                const struct s3_headers *headers, struct s3_response *ret);

/* Milliseconds until the deadline, INT64_MAX where there is none, 0 behind it. */
int64_t s3_ms_left(const struct s3 *s3);

/* Makes s3->failure of the deadline. Returns -ETIMEDOUT. */
int s3_fail_deadline(struct s3 *s3);
