#pragma once

/*
 * A sink into two places at once: the spool, and S3 by the uploader. One of them is enough: where
 * the spool takes no more, the bytes from there on go to S3 alone, through memory; where S3 fails,
 * they go to the spool alone.
 */

#include <stdbool.h>

#include "bundle/name.h"
#include "bundle/sink.h"
#include "store/spool.h"
#include "store/uploader.h"

/* What became of it; filled in as it happens. */
struct artifact_places {
    bool in_spool;
    int spool_error;         /* why it isn't; 0: it is, or it goes to S3 alone */
    struct sending *sending; /* NULL: it is not sent */
};

struct artifact_sink_settings {
    struct spool *spool;               /* NULL: none */
    const struct spool_policy *policy; /* to make room by, where there is none */
    struct uploader *uploader;         /* NULL: nothing is sent */
    enum artifact_kind kind;
    const char *name;
    bool (*is_late)(void *context); /* nothing more is to be written; NULL: never */
    void *context;
};

/*
 * Opens one. The settings and @places must outlive it.
 *
 * Writing returns 0, -ETIME (it is late: neither place's error), or the error of the last place
 * that failed, where both have. Committing publishes the file in the spool, and waits for S3 only
 * where the spool hasn't got it (SENDING_EARLY excepted); what goes on being sent is
 * places->sending. Closing without commit
 * leaves it in neither place.
 *
 * Returns 0 or -ENOMEM.
 */
int artifact_sink(const struct artifact_sink_settings *settings, struct artifact_places *places,
                  struct sink **ret);
