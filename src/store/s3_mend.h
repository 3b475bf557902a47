#pragma once

/* What a server's refusal tells us to do better. */

#include <stdbool.h>

#include "store/s3_client.h"

/* Each thing is mended once for a request, but a bucket's place, which may be found in two steps.
 * Zeroed before the first attempt. */
struct s3_mends {
    unsigned redirects;
    bool is_clock_set;
    bool is_renewed;
};

/*
 * Mends what s3->failure says:
 * - the bucket is in another region: requests go there from now on, always to hosts of S3's in the
 *   same partition, or with that region to the endpoint that was set;
 * - our clock is wrong: requests carry the server's time from now on;
 * - the credentials have expired: they are asked for anew.
 *
 * Returns whether the same request may be sent again at once.
 */
bool s3_mend(struct s3 *s3, const struct s3_response *response, struct s3_mends *done);
