#include "store/profile_credentials.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "store/container_credentials.h"
#include "store/credential_process.h"
#include "store/instance_credentials.h"
#include "store/sts.h"

/* More roles in a row than anyone has a use for. */
#define MAX_DEPTH 8

struct name {
    char text[256];
};

/* The profiles on the way to the one that is looked at now. */
struct way {
    const struct aws_search *search;
    struct name names[MAX_DEPTH];
    unsigned depth; /* of the one that is looked at; 0: the chosen one */
};

static const char *here(const struct way *way)
{
    return way->names[way->depth].text;
}

static const struct {
    const char *name;
    aws_source *find;
} sources[] = {
    {"Environment", environment_credentials},
    {"Ec2InstanceMetadata", instance_credentials},
    {"EcsContainer", container_credentials},
};

/* Reads one property. Returns 1, 0 (@ret is ""), or -EINVAL. */
static int get(const struct way *way, const char *property, char *ret, size_t size)
{
    int r;

    ret[0] = '\0';
    r = aws_profile_find(way->search->profile, here(way), property, ret, size);
    return r < 0
               ? aws_search_fail(way->search, -EINVAL, "%s of profile %s is longer than %zu bytes",
                                 property, here(way), size - 1)
               : r;
}

static bool has(const struct way *way, const char *property)
{
    char ignored[2];

    return aws_profile_find(way->search->profile, here(way), property, ignored, sizeof(ignored)) !=
           0;
}

static int find_in_profile(struct way *way, struct aws_credentials *ret);

/* Goes on to the profile that this one's source_profile names. */
static int find_source_profile(struct way *way, const char *name, struct aws_credentials *ret)
{
    const struct aws_search *search = way->search;
    int r;

    if (!aws_profile_exists(search->profile, name))
        return aws_search_fail(search, -EINVAL, "source_profile %s of profile %s doesn't exist",
                               name, here(way));
    /* A profile may name itself: the role is then for its own key. */
    if (strcmp(name, here(way)) == 0) {
        r = aws_credentials_of_profile(search->profile, name, ret, search->why, search->why_size);
        return r != 0
                   ? r
                   : aws_search_fail(search, -EINVAL,
                                     "profile %s is its own source_profile, but has no key", name);
    }
    for (unsigned i = 0; i < way->depth; i++)
        if (strcmp(name, way->names[i].text) == 0)
            return aws_search_fail(search, -EINVAL,
                                   "source_profile of profile %s leads back to profile %s",
                                   here(way), name);
    if (way->depth + 1 == MAX_DEPTH)
        return aws_search_fail(search, -EINVAL,
                               "more than %d profiles lead to each other by "
                               "source_profile",
                               MAX_DEPTH);
    way->depth++;
    snprintf(way->names[way->depth].text, sizeof(way->names[0].text), "%s", name);
    r = find_in_profile(way, ret);
    way->depth--;
    return r != 0 ? r
                  : aws_search_fail(search, -EINVAL,
                                    "profile %s, the source_profile of %s, has no credentials",
                                    name, here(way));
}

static int find_named_source(const struct way *way, const char *name, struct aws_credentials *ret)
{
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (strcasecmp(name, sources[i].name) == 0) {
            int r = sources[i].find(way->search, ret);

            return r != 0 ? r
                          : aws_search_fail(way->search, -ENOKEY,
                                            "credential_source %s of profile %s has no credentials",
                                            name, here(way));
        }
    }
    return aws_search_fail(way->search, -EINVAL,
                           "credential_source of profile %s must be Environment, "
                           "Ec2InstanceMetadata or EcsContainer, but is %s",
                           here(way), name);
}

/* Finds the key that the role is asked for with. */
static int find_base(struct way *way, struct aws_credentials *ret)
{
    char profile[sizeof(struct name)], source[64];
    int r = get(way, "source_profile", profile, sizeof(profile));

    if (r >= 0)
        r = get(way, "credential_source", source, sizeof(source));
    if (r < 0)
        return r;
    if (!profile[0] == !source[0])
        return aws_search_fail(way->search, -EINVAL,
                               "role_arn of profile %s needs one of source_profile, "
                               "credential_source and web_identity_token_file beside it",
                               here(way));
    return profile[0] ? find_source_profile(way, profile, ret)
                      : find_named_source(way, source, ret);
}

static int find_role(struct way *way, const char *arn, struct aws_credentials *ret)
{
    const struct aws_search *search = way->search;
    char session[65], external_id[1225], duration[8], token_file[PATH_MAX];
    const struct sts_role role = {.arn = arn,
                                  .session_name = session,
                                  .external_id = external_id,
                                  .duration_seconds = duration};
    const struct {
        const char *property;
        char *text;
        size_t size;
    } properties[] = {
        {"role_session_name", session, sizeof(session)},
        {"external_id", external_id, sizeof(external_id)},
        {"duration_seconds", duration, sizeof(duration)},
        {"web_identity_token_file", token_file, sizeof(token_file)},
    };
    _cleanup_aws_credentials_ struct aws_credentials base = {0};
    int r = 0;

    for (size_t i = 0; r >= 0 && i < sizeof(properties) / sizeof(properties[0]); i++)
        r = get(way, properties[i].property, properties[i].text, properties[i].size);
    if (r < 0)
        return r;
    if (token_file[0]) {
        r = sts_assume_role_with_web_identity(search, token_file, &role, ret);
    } else {
        if (has(way, "mfa_serial"))
            return aws_search_fail(search, -ENOTSUP,
                                   "the role of profile %s takes an MFA code, and nobody is here "
                                   "to type one: give a profile without mfa_serial",
                                   here(way));
        r = find_base(way, &base);
        if (r > 0)
            r = sts_assume_role(search, &base, &role, ret);
    }
    if (r < 0)
        return r;
    snprintf(ret->place, sizeof(ret->place), "role %s of profile %s", arn, here(way));
    return 1;
}

static int find_process(const struct way *way, struct aws_credentials *ret)
{
    char command[8192];
    int r = get(way, "credential_process", command, sizeof(command));

    if (r <= 0)
        return r;
    r = credential_process_run(way->search, command, ret);
    if (r < 0)
        return r;
    snprintf(ret->place, sizeof(ret->place), "credential_process of profile %s", here(way));
    return 1;
}

/* What only a person can do, with a browser. */
static int refuse_sign_in(const struct way *way)
{
    static const char *const properties[] = {"sso_session", "sso_account_id", "sso_start_url",
                                             "login_session"};

    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
        if (has(way, properties[i]))
            return aws_search_fail(way->search, -ENOTSUP,
                                   "profile %s takes a person to sign in (%s), which isn't "
                                   "supported: give a role, a key or a credential_process",
                                   here(way), properties[i]);
    return 0;
}

static int find_in_profile(struct way *way, struct aws_credentials *ret)
{
    const struct aws_search *search = way->search;
    char arn[2049];
    int r = 0;

    if (way->depth > 0)
        r = aws_credentials_of_profile(search->profile, here(way), ret, search->why,
                                       search->why_size);
    if (r != 0)
        return r;
    r = get(way, "role_arn", arn, sizeof(arn));
    if (r != 0)
        return r < 0 ? r : find_role(way, arn, ret);
    if (has(way, "web_identity_token_file"))
        return aws_search_fail(search, -EINVAL,
                               "web_identity_token_file of profile %s needs role_arn beside it",
                               here(way));
    if (way->depth == 0)
        r = aws_credentials_of_profile(search->profile, here(way), ret, search->why,
                                       search->why_size);
    if (r == 0)
        r = find_process(way, ret);
    return r != 0 ? r : refuse_sign_in(way);
}

int profile_credentials(const struct aws_search *search, struct aws_credentials *ret)
{
    const char *name = aws_profile_name(search->profile);
    struct way way = {.search = search};
    char paths[AWS_FILES][PATH_MAX + 128];

    if (!aws_profile_exists(search->profile, name) && aws_profile_is_chosen(search->profile)) {
        for (enum aws_file file = 0; file < AWS_FILES; file++)
            aws_profile_describe(search->profile, file, paths[file], sizeof(paths[file]));
        return aws_search_fail(search, -ENOKEY,
                               "AWS_PROFILE is %s, but neither %s nor %s has such a profile", name,
                               paths[AWS_FILE_CREDENTIALS], paths[AWS_FILE_CONFIG]);
    }
    snprintf(way.names[0].text, sizeof(way.names[0].text), "%s", name);
    return find_in_profile(&way, ret);
}
