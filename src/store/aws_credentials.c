#include "store/aws_credentials.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The three values, under the names that they have in each place. */
static const struct part {
    const char *variable, *property;
    size_t offset, size;
    bool required;
} parts[] = {
    {"AWS_ACCESS_KEY_ID", "aws_access_key_id", offsetof(struct aws_credentials, access_key_id),
     sizeof(((struct aws_credentials *)0)->access_key_id), true},
    {"AWS_SECRET_ACCESS_KEY", "aws_secret_access_key",
     offsetof(struct aws_credentials, secret_access_key),
     sizeof(((struct aws_credentials *)0)->secret_access_key), true},
    {"AWS_SESSION_TOKEN", "aws_session_token", offsetof(struct aws_credentials, session_token),
     sizeof(((struct aws_credentials *)0)->session_token), false},
};

#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

/* A place to look in: the environment where @profile is NULL. */
struct place {
    const struct aws_profile *profile;
    enum aws_file file;
    char name[sizeof(((struct aws_credentials *)0)->place)];
};

/* Returns 1, 0 (not there) or -E2BIG. */
static int get_part(const struct place *place, const struct part *part, char *ret)
{
    const char *value;

    if (place->profile)
        return aws_profile_get(place->profile, place->file, part->property, ret, part->size);
    value = getenv(part->variable);
    if (!value || value[0] == '\0')
        return 0;
    if (strlen(value) >= part->size)
        return -E2BIG;
    strcpy(ret, value);
    return 1;
}

/* They travel in HTTP headers, where a line break would begin another header. */
static bool is_clean(const char *value)
{
    for (; *value; value++)
        if (*value <= ' ' || *value > '~')
            return false;
    return true;
}

/* Returns 1 (found), 0 (nothing there), or -EINVAL for half of it, with the reason. */
static int look(const struct place *place, struct aws_credentials *ret, char *why, size_t why_size)
{
    bool found = false;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < N_PARTS; i++) {
        const char *name = place->profile ? parts[i].property : parts[i].variable;
        char *value = (char *)ret + parts[i].offset;
        int r = get_part(place, &parts[i], value);

        if (r < 0) {
            snprintf(why, why_size, "%s in %s is longer than %zu bytes", name, place->name,
                     parts[i].size - 1);
            return -EINVAL;
        }
        if (r == 0 && parts[i].required && found) {
            snprintf(why, why_size, "%s in %s is missing, though the key's id is there", name,
                     place->name);
            return -EINVAL;
        }
        if (!is_clean(value)) {
            snprintf(why, why_size,
                     "%s in %s has a blank or control character in it; did a line's end slip in?",
                     name, place->name);
            return -EINVAL;
        }
        if (r == 0 && parts[i].required)
            return 0;
        found = true;
    }
    return 1;
}

int aws_credentials_find(const struct aws_profile *profile, struct aws_credentials *ret, char *why,
                         size_t why_size)
{
    char paths[AWS_FILES][PATH_MAX + 128];
    struct place place = {.profile = NULL, .name = "the environment"};
    int r = look(&place, ret, why, why_size);

    place.profile = profile;
    for (place.file = 0; r == 0 && place.file < AWS_FILES; place.file++) {
        aws_profile_describe(profile, place.file, paths[place.file], sizeof(paths[0]));
        snprintf(place.name, sizeof(place.name), "profile %s of %s", aws_profile_name(profile),
                 paths[place.file]);
        r = look(&place, ret, why, why_size);
    }
    if (r < 0) {
        aws_credentials_wipe(ret);
        return r;
    }
    if (r == 0) {
        snprintf(why, why_size,
                 "no AWS credentials: AWS_ACCESS_KEY_ID is not set, and profile %s has no "
                 "aws_access_key_id in %s or %s",
                 aws_profile_name(profile), paths[AWS_FILE_CREDENTIALS], paths[AWS_FILE_CONFIG]);
        return -ENOKEY;
    }
    strcpy(ret->place, place.name);
    return 0;
}

void aws_credentials_wipe(struct aws_credentials *credentials)
{
    explicit_bzero(credentials, sizeof(*credentials));
}
