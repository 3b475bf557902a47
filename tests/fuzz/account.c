/* crash.json as the sweep reads it back from a directory where anyone may have put it. */

#include <string.h>

#include <jansson.h>

#include "bundle/account.h"

#include "fuzz.h"

#define ID "app_2026-11-21T093000_host_r42"

/* Whatever an account was, it can be brought up to date and is one again. */
static void bring_up_to_date(json_t *account)
{
    struct artifact artifact, again;

    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++) {
        account_get(account, (enum artifact_kind)kind, &artifact);
        fuzz_expect(strlen(artifact.sha256) < sizeof(artifact.sha256));
        artifact.in_s3 = true;
        fuzz_expect(account_set(account, (enum artifact_kind)kind, &artifact) == 0);
        account_get(account, (enum artifact_kind)kind, &again);
        fuzz_expect(again.made == artifact.made && again.in_s3);
    }
    fuzz_expect(account_complete(account) == 0 && account_is_complete(account));
}

static void parse_account(const char *data, size_t size)
{
    json_t *account = NULL, *again = NULL;
    char *text;

    if (account_parse(data, size, ID, &account) < 0)
        return;
    bring_up_to_date(account);
    text = json_dumps(account, 0);
    fuzz_expect(text != NULL && (strlen(text) > ACCOUNT_MAX_BYTES ||
                                 account_parse(text, strlen(text), ID, &again) == 0));
    json_decref(again);
    json_decref(account);
    free(text);
}

static fuzz_parser *const parsers[] = {parse_account};
FUZZ_TARGET(parsers)
