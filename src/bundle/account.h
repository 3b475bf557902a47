#pragma once

/*
 * crash.json as it is read back from the spool by a later process than the one that wrote it, and
 * brought up to date; json_write() writes it again. It may have been damaged since, or planted: it
 * is taken for one bundle's account or refused, and no name in it is ever used as a path.
 */

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "bundle/crash_json.h"
#include "bundle/name.h"

/* A process with thousands of modules has less; as jansson's tree it is some 60 times as much. */
#define ACCOUNT_MAX_BYTES ((size_t)512 << 10)

/*
 * Takes a text for the account of bundle @id.
 *
 * @ret  to be freed with json_decref()
 *
 * Returns 0, -EFBIG (more than ACCOUNT_MAX_BYTES), -EBADMSG (cut, no JSON, no account of this
 * version or another bundle's) or -ENOMEM.
 */
int account_parse(const char *text, size_t size, const char *id, json_t **ret);

/* Whether it is the whole account, not the early form. */
bool account_is_complete(const json_t *account);

/* What it tells of an artifact, any but ARTIFACT_CRASH_JSON. */
void account_get(const json_t *account, enum artifact_kind kind, struct artifact *ret);

/*
 * Tells what became of an artifact, any but ARTIFACT_CRASH_JSON; keys that aren't of struct
 * artifact stay. Returns 0 or -ENOMEM.
 */
int account_set(json_t *account, enum artifact_kind kind, const struct artifact *artifact);

/* Makes the whole account of an early form. Returns 0 or -ENOMEM. */
int account_complete(json_t *account);

static inline void cleanup_account(json_t **account)
{
    json_decref(*account);
}
#define _cleanup_account_ __attribute__((cleanup(cleanup_account)))
