#include "store/aws_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/cleanup.h"
#include "util/io.h"

/* Hundreds of profiles fit; a longer file is read up to here. */
#define MAX_FILE_BYTES ((size_t)1 << 20)

struct slice {
    const char *data;
    size_t size;
};

struct aws_profile {
    char name[256];
    bool is_chosen;
    struct {
        char path[PATH_MAX];
        char *text;
        size_t size;
        int error; /* of reading it */
    } files[AWS_FILES];
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.size > 0 && is_blank(s.data[0])) {
        s.data++;
        s.size--;
    }
    while (s.size > 0 && is_blank(s.data[s.size - 1]))
        s.size--;
    return s;
}

static bool equals(struct slice s, const char *text)
{
    return s.size == strlen(text) && memcmp(s.data, text, s.size) == 0;
}

/* Cuts the next line off a text. */
static struct slice next_line(struct slice *text)
{
    const char *end = memchr(text->data, '\n', text->size);
    struct slice line = {text->data, end ? (size_t)(end - text->data) : text->size};
    size_t taken = line.size + (end ? 1 : 0);

    text->data += taken;
    text->size -= taken;
    return line;
}

/* @line begins with '[': is it the header of the profile's section? */
static bool heads_profile(struct slice line, enum aws_file file, const char *profile)
{
    static const char word[] = "profile";
    const size_t word_size = sizeof(word) - 1;
    const char *end = memchr(line.data, ']', line.size);
    struct slice name = {line.data + 1, 0};

    if (!end)
        return false;
    name.size = (size_t)(end - name.data);
    name = trim(name);
    if (file == AWS_FILE_CONFIG && name.size > word_size &&
        memcmp(name.data, word, word_size) == 0 && is_blank(name.data[word_size]))
        return equals(trim((struct slice){name.data + word_size, name.size - word_size}), profile);
    if (file == AWS_FILE_CONFIG && strcmp(profile, "default") != 0)
        return false;
    return equals(name, profile);
}

/* The value without what is written behind it. */
static struct slice without_comment(struct slice value)
{
    for (size_t i = 1; i < value.size; i++)
        if ((value.data[i] == '#' || value.data[i] == ';') && is_blank(value.data[i - 1]))
            value.size = i;
    return trim(value);
}

static struct slice without_mark(struct slice text)
{
    if (text.size >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0) {
        text.data += 3;
        text.size -= 3;
    }
    return text;
}

/* Looks the last such property of the profile up; an empty slice where there is none. */
static struct slice find(struct slice text, enum aws_file file, const char *profile,
                         const char *property)
{
    struct slice found = {NULL, 0};
    bool in_profile = false;
    size_t indent = SIZE_MAX; /* of the property before, in this section */

    text = without_mark(text);
    while (text.size > 0) {
        struct slice whole = next_line(&text);
        struct slice line = trim(whole);
        const char *equals_sign;

        if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if ((size_t)(line.data - whole.data) > indent)
            continue;
        if (line.data[0] == '[') {
            in_profile = heads_profile(line, file, profile);
            indent = SIZE_MAX;
            continue;
        }
        equals_sign = memchr(line.data, '=', line.size);
        if (!equals_sign)
            continue;
        indent = (size_t)(line.data - whole.data);

        struct slice name = trim((struct slice){line.data, (size_t)(equals_sign - line.data)});
        size_t rest = line.size - (size_t)(equals_sign + 1 - line.data);

        if (in_profile && name.size == strlen(property) &&
            strncasecmp(name.data, property, name.size) == 0)
            found = without_comment(trim((struct slice){equals_sign + 1, rest}));
    }
    return found;
}

/* A header is one wherever find() takes it for one: not where it is indented below a property. */
static bool has_profile(struct slice text, enum aws_file file, const char *profile)
{
    text = without_mark(text);
    while (text.size > 0) {
        struct slice whole = next_line(&text);

        if (whole.size > 0 && whole.data[0] == '[' && heads_profile(trim(whole), file, profile))
            return true;
    }
    return false;
}

int aws_profile_text_get(const char *text, size_t size, enum aws_file file, const char *profile,
                         const char *property, char *ret, size_t ret_size)
{
    struct slice value = find((struct slice){text, size}, file, profile, property);

    if (value.size == 0 || memchr(value.data, '\0', value.size))
        return 0;
    if (value.size >= ret_size)
        return -E2BIG;
    memcpy(ret, value.data, value.size);
    ret[value.size] = '\0';
    return 1;
}

static const struct {
    const char *variable, *in_home;
} places[AWS_FILES] = {
    [AWS_FILE_CREDENTIALS] = {"AWS_SHARED_CREDENTIALS_FILE", "credentials"},
    [AWS_FILE_CONFIG] = {"AWS_CONFIG_FILE", "config"},
};

/* Where a file is: "" where only a missing HOME would tell. */
static void find_path(enum aws_file file, char ret[PATH_MAX])
{
    const char *named = getenv(places[file].variable);
    const char *home = getenv("HOME");
    int n;

    if (home && home[0] == '\0')
        home = NULL;
    if (named && named[0] != '\0' && strncmp(named, "~/", 2) != 0)
        n = snprintf(ret, PATH_MAX, "%s", named);
    else if (!home)
        n = 0;
    else if (named && named[0] != '\0')
        n = snprintf(ret, PATH_MAX, "%s/%s", home, named + 2);
    else
        n = snprintf(ret, PATH_MAX, "%s/.aws/%s", home, places[file].in_home);
    if (n <= 0 || n >= PATH_MAX)
        ret[0] = '\0';
}

/* Not blocking: the path may be a pipe that nobody writes to. */
static ssize_t read_file(const char *path, char *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    return fd < 0 ? -errno : read_full(fd, ret, MAX_FILE_BYTES);
}

static int load(struct aws_profile *profile, enum aws_file file)
{
    char *path = profile->files[file].path;
    char *text;
    ssize_t n;

    find_path(file, path);
    if (path[0] == '\0')
        return 0;
    text = malloc(MAX_FILE_BYTES);
    if (!text)
        return -ENOMEM;
    n = read_file(path, text);
    profile->files[file].text = text;
    profile->files[file].error = n < 0 ? (int)n : 0;
    profile->files[file].size = n > 0 ? (size_t)n : 0;
    return 0;
}

int aws_profile_load(struct aws_profile **ret)
{
    _cleanup_aws_profile_ struct aws_profile *profile = calloc(1, sizeof(*profile));
    const char *name = getenv("AWS_PROFILE");

    if (!profile)
        return -ENOMEM;
    profile->is_chosen = name && name[0] != '\0';
    if (!profile->is_chosen)
        name = "default";
    snprintf(profile->name, sizeof(profile->name), "%s", name);
    for (enum aws_file file = 0; file < AWS_FILES; file++) {
        int r = load(profile, file);

        if (r < 0)
            return r;
    }
    *ret = take_ptr(profile);
    return 0;
}

static struct slice text_of(const struct aws_profile *profile, enum aws_file file)
{
    const char *text = profile->files[file].text;

    return (struct slice){text ? text : "", profile->files[file].size};
}

int aws_profile_get_of(const struct aws_profile *profile, const char *name, enum aws_file file,
                       const char *property, char *ret, size_t ret_size)
{
    struct slice text = text_of(profile, file);

    return aws_profile_text_get(text.data, text.size, file, name, property, ret, ret_size);
}

int aws_profile_get(const struct aws_profile *profile, enum aws_file file, const char *property,
                    char *ret, size_t ret_size)
{
    return aws_profile_get_of(profile, profile->name, file, property, ret, ret_size);
}

int aws_profile_find(const struct aws_profile *profile, const char *name, const char *property,
                     char *ret, size_t ret_size)
{
    int r = 0;

    for (enum aws_file file = 0; r == 0 && file < AWS_FILES; file++)
        r = aws_profile_get_of(profile, name, file, property, ret, ret_size);
    return r;
}

bool aws_profile_exists(const struct aws_profile *profile, const char *name)
{
    bool found = false;

    for (enum aws_file file = 0; !found && file < AWS_FILES; file++)
        found = has_profile(text_of(profile, file), file, name);
    return found;
}

int aws_setting(const struct aws_profile *profile, const char *variable, const char *property,
                char *ret, size_t ret_size)
{
    const char *value = getenv(variable);

    ret[0] = '\0';
    if (value && value[0] != '\0') {
        if (strlen(value) >= ret_size)
            return -E2BIG;
        strcpy(ret, value);
        return 1;
    }
    if (!profile || !property)
        return 0;
    return aws_profile_find(profile, profile->name, property, ret, ret_size);
}

bool aws_profile_is_chosen(const struct aws_profile *profile)
{
    return profile->is_chosen;
}

const char *aws_profile_name(const struct aws_profile *profile)
{
    return profile->name;
}

void aws_profile_describe(const struct aws_profile *profile, enum aws_file file, char *ret,
                          size_t size)
{
    const char *path = profile->files[file].path;
    int error = profile->files[file].error;

    if (path[0] == '\0')
        snprintf(ret, size, "~/.aws/%s (HOME is not set)", places[file].in_home);
    else if (error)
        snprintf(ret, size, "%s (%s)", path, strerrordesc_np(-error));
    else
        snprintf(ret, size, "%s", path);
}

void aws_profile_free(struct aws_profile *profile)
{
    if (!profile)
        return;
    for (enum aws_file file = 0; file < AWS_FILES; file++) {
        if (profile->files[file].text)
            explicit_bzero(profile->files[file].text, profile->files[file].size);
        free(profile->files[file].text);
    }
    free(profile);
}
