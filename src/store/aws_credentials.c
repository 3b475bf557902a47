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

/* A place to look in: the environment where @files is NULL. */
struct place {
    const struct aws_profile *files;
    const char *profile;
    enum aws_file file;
    char name[sizeof(((struct aws_credentials *)0)->place)];
};

/* Returns 1, 0 (not there) or -E2BIG. */
static int get_part(const struct place *place, const struct part *part, char *ret)
{
    if (place->files)
        return aws_profile_get_of(place->files, place->profile, place->file, part->property, ret,
                                  part->size);
    return aws_setting(NULL, part->variable, NULL, ret, part->size);
}

static bool is_clean(const char *value)
{
    for (; *value; value++)
        if (*value <= ' ' || *value > '~')
            return false;
    return true;
}

bool aws_credentials_are_whole(const struct aws_credentials *credentials)
{
    return credentials->access_key_id[0] && credentials->secret_access_key[0] &&
           is_clean(credentials->access_key_id) && is_clean(credentials->secret_access_key) &&
           is_clean(credentials->session_token);
}

/* Returns 1 (found), 0 (nothing there), or -EINVAL for half of it, with the reason. */
static int look(const struct place *place, struct aws_credentials *ret, char *why, size_t why_size)
{
    bool found = false;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < N_PARTS; i++) {
        const char *name = place->files ? parts[i].property : parts[i].variable;
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
    strcpy(ret->place, place->name);
    return 1;
}

int aws_credentials_of_environment(struct aws_credentials *ret, char *why, size_t why_size)
{
    const struct place place = {.name = "the environment"};
    int r = look(&place, ret, why, why_size);

    if (r <= 0)
        aws_credentials_wipe(ret);
    return r;
}

int aws_credentials_of_profile(const struct aws_profile *profile, const char *name,
                               struct aws_credentials *ret, char *why, size_t why_size)
{
    struct place place = {.files = profile, .profile = name};
    char path[PATH_MAX + 128];
    int r = 0;

    for (place.file = 0; r == 0 && place.file < AWS_FILES; place.file++) {
        aws_profile_describe(profile, place.file, path, sizeof(path));
        snprintf(place.name, sizeof(place.name), "profile %s of %s", name, path);
        r = look(&place, ret, why, why_size);
    }
    if (r <= 0)
        aws_credentials_wipe(ret);
    return r;
}

void aws_credentials_censor(const struct aws_credentials *credentials, char *words)
{
    /* By its beginning, since words may be cut; what is shorter is no value of AWS's, and may be in
     * any sentence. */
    const struct {
        const char *text;
        size_t size;
    } values[] = {{credentials->access_key_id, 16},
                  {credentials->secret_access_key, 8},
                  {credentials->session_token, 8}};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char *found = strlen(values[i].text) < values[i].size
                          ? NULL
                          : memmem(words, strlen(words), values[i].text, values[i].size);

        if (found)
            *found = '\0';
    }
}

void aws_credentials_wipe(struct aws_credentials *credentials)
{
    explicit_bzero(credentials, sizeof(*credentials));
}
