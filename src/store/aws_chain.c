#include "store/aws_chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/aws_search.h"
#include "store/container_credentials.h"
#include "store/instance_credentials.h"
#include "store/profile_credentials.h"
#include "store/web_identity.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/log.h"

/* What expires within that time isn't good for a long request any more. */
#define RENEWAL_SECONDS (5 * 60)

/* Whatever the clock and the server say, it isn't asked more often than that. */
#define PAUSE_NS (60 * 1000000000ll)

struct aws_chain {
    struct aws_search search;
    int64_t next_ns; /* of monotonic_ns(): an unforced renewal isn't tried before; 0: at any time */
};

/* In the SDKs' order. */
static aws_source *const sources[] = {
    environment_credentials, profile_credentials,  web_identity_credentials,
    container_credentials,   instance_credentials,
};

int aws_chain_open(const struct aws_profile *profile, const char *region, bool allow_http,
                   const _Atomic int64_t *deadline_ns, struct aws_chain **ret)
{
    struct aws_chain *chain = calloc(1, sizeof(*chain));
    struct aws_search *search = chain ? &chain->search : NULL;

    if (!chain)
        return -ENOMEM;
    search->profile = profile;
    search->allow_http = allow_http;
    search->deadline_ns = deadline_ns;
    if (aws_setting(NULL, "AWS_REGION", NULL, search->sts_region, sizeof(search->sts_region)) !=
            1 &&
        aws_setting(profile, "AWS_DEFAULT_REGION", "region", search->sts_region,
                    sizeof(search->sts_region)) != 1)
        snprintf(search->sts_region, sizeof(search->sts_region), "%s", region ? region : "");
    *ret = chain;
    return 0;
}

/* Asks one source after the other. @search->why is that of the last where none has any. */
static int find(const struct aws_search *search, struct aws_credentials *ret)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(sources) / sizeof(sources[0]); i++) {
        aws_credentials_wipe(ret);
        r = sources[i](search, ret);
    }
    return r;
}

/* Words for "there are none", with the last source's reason. */
static int say_none(const struct aws_search *search)
{
    char paths[AWS_FILES][PATH_MAX + 128], why[512];

    snprintf(why, sizeof(why), "%s", search->why);
    for (enum aws_file file = 0; file < AWS_FILES; file++)
        aws_profile_describe(search->profile, file, paths[file], sizeof(paths[file]));
    return aws_search_fail(search, -ENOKEY,
                           "no AWS credentials: AWS_ACCESS_KEY_ID is not set, profile %s has none "
                           "in %s or %s, AWS_WEB_IDENTITY_TOKEN_FILE and "
                           "AWS_CONTAINER_CREDENTIALS_FULL_URI are not set, and no EC2 instance "
                           "gives any: %s",
                           aws_profile_name(search->profile), paths[AWS_FILE_CREDENTIALS],
                           paths[AWS_FILE_CONFIG], why);
}

static void tell(const struct aws_credentials *credentials)
{
    const time_t expires = (time_t)credentials->expires;
    char until[64] = "";
    struct tm utc;

    if (expires && gmtime_r(&expires, &utc))
        strftime(until, sizeof(until), ", good until %FT%TZ", &utc);
    log_info("AWS credentials are those of %s%s", credentials->place, until);
}

static bool is_good(const struct aws_chain *chain, const struct aws_credentials *credentials)
{
    return credentials->access_key_id[0] &&
           (credentials->expires == 0 || credentials->expires - time(NULL) > RENEWAL_SECONDS ||
            monotonic_ns() < chain->next_ns);
}

int aws_chain_get(struct aws_chain *chain, bool force, struct aws_credentials *in_out, char *why,
                  size_t why_size)
{
    _cleanup_aws_credentials_ struct aws_credentials found = {0};
    struct aws_search *search = &chain->search;
    int r;

    if (!force && is_good(chain, in_out))
        return 0;
    search->why = why;
    search->why_size = why_size;
    snprintf(why, why_size, "nobody was asked");
    r = find(search, &found);
    chain->next_ns = monotonic_ns() + PAUSE_NS;
    if (r > 0) {
        tell(&found);
        *in_out = found;
        why[0] = '\0';
        return 1;
    }
    if (r == 0)
        r = http_is_late(search->deadline_ns) ? -ETIMEDOUT : say_none(search);
    if (!in_out->access_key_id[0])
        return r;
    log_warning("the AWS credentials of %s can't be renewed: %s", in_out->place, why);
    return force ? r : 0;
}

void aws_chain_close(struct aws_chain *chain)
{
    free(chain);
}
