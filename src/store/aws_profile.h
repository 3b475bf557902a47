#pragma once

/*
 * The AWS SDKs' profile files, ~/.aws/config and ~/.aws/credentials (AWS SDKs and Tools Reference
 * Guide, "Shared config and credentials files").
 *
 * They look like ini files, and inih is what reads coreinit's own. It can't read these: how long a
 * line may be is fixed when the library is compiled, by default at 200 bytes, and the rest of a
 * longer one is taken for a line of its own, while a session token has 1,000 bytes and more. And it
 * cuts section names at 50 bytes, so that two long profile names become one.
 */

#include <stdbool.h>
#include <stddef.h>

/* Which of the two files a text is: config writes [profile NAME] for what credentials calls [NAME].
 */
enum aws_file {
    AWS_FILE_CREDENTIALS,
    AWS_FILE_CONFIG,
    AWS_FILES,
};

/*
 * Finds one property of one profile in a file's text. Names of properties are compared without
 * case; of several the last counts; a value ends at its line's end, or at a '#' or ';' behind a
 * blank; lines indented deeper than a property (nested settings) belong to it and are passed over.
 *
 * @text  any @size bytes
 * @ret   NUL-terminated
 *
 * Returns 1, 0 (not there, empty, or with a NUL in it), or -E2BIG (does not fit @ret).
 */
int aws_profile_text_get(const char *text, size_t size, enum aws_file file, const char *profile,
                         const char *property, char *ret, size_t ret_size);

struct aws_profile;

/*
 * Reads the files that AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name, else those in
 * HOME/.aws; the profile is the one that AWS_PROFILE names, else "default". A file that is missing
 * or can't be read is taken as an empty one; aws_profile_describe() tells.
 *
 * @ret  to be freed with aws_profile_free()
 *
 * Returns 0 or -ENOMEM.
 */
int aws_profile_load(struct aws_profile **ret);

/* aws_profile_text_get() on one of the loaded files. */
int aws_profile_get(const struct aws_profile *profile, enum aws_file file, const char *property,
                    char *ret, size_t ret_size);

/* The same of any profile of these files. */
int aws_profile_get_of(const struct aws_profile *profile, const char *name, enum aws_file file,
                       const char *property, char *ret, size_t ret_size);

/*
 * One property of any profile, of the credentials file or else of the config file, as the SDKs
 * merge them.
 *
 * Returns 1, 0 or -E2BIG.
 */
int aws_profile_find(const struct aws_profile *profile, const char *name, const char *property,
                     char *ret, size_t ret_size);

/* Whether one of the files has a profile of that name, be it an empty one. */
bool aws_profile_exists(const struct aws_profile *profile, const char *name);

/*
 * A setting as the SDKs look it up: an environment variable that isn't empty, else the property of
 * the profile.
 *
 * @profile  or NULL: the environment alone
 * @property  or NULL: likewise
 *
 * Returns 1, 0 (it isn't set; @ret is "") or -E2BIG (it doesn't fit @ret, which is "").
 */
int aws_setting(const struct aws_profile *profile, const char *variable, const char *property,
                char *ret, size_t ret_size);

/* The profile's name; owned by it. */
const char *aws_profile_name(const struct aws_profile *profile);

/* Whether AWS_PROFILE chose it: then it has to be there. */
bool aws_profile_is_chosen(const struct aws_profile *profile);

/* Where a file was looked for and, in brackets, why it was not read, for people. */
void aws_profile_describe(const struct aws_profile *profile, enum aws_file file, char *ret,
                          size_t size);

/* Wipes the texts, which hold secrets, and frees them; NULL is fine. */
void aws_profile_free(struct aws_profile *profile);

static inline void cleanup_aws_profile(struct aws_profile **profile)
{
    aws_profile_free(*profile);
}
#define _cleanup_aws_profile_ __attribute__((cleanup(cleanup_aws_profile)))
