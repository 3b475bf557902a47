#pragma once

/* A bundle that another process left in the spool: ended, where it wasn't, and sent. */

#include <jansson.h>

#include "bundle/account.h"
#include "store/send_file.h"
#include "store/spool.h"

struct left_bundle {
    struct spool *spool; /* holds it */
    const char *id;
    json_t *account;  /* crash.json, NULL where there is none that can be read */
    bool is_complete; /* crash.json is committed */
};

/* Reads crash.json, or its early form. left_bundle_free() is due. */
void left_bundle_read(struct spool *spool, const char *id, struct left_bundle *ret);

/*
 * Ends a bundle that was not: crash.json is made of its early form, and says of each artifact
 * whether it is there. What was half-made is removed.
 *
 * Returns 0, -ENOENT (there isn't even the early form) or -errno of the spool.
 */
int left_bundle_complete(struct left_bundle *bundle);

/*
 * Tells in the account what came of sending an artifact, or that there is none.
 *
 * @r     as send_file() returned
 * @stays whether it stays in the spool
 */
void left_bundle_tell(struct left_bundle *bundle, enum artifact_kind kind, int r,
                      const struct sent_file *file, bool stays);

/* Replaces crash.json in the spool by the account. Returns 0 (also without one) or -errno. */
int left_bundle_commit(struct left_bundle *bundle);

void left_bundle_free(struct left_bundle *bundle);
