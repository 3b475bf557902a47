#pragma once

/* Who we are to AWS: an access key, and where it is written down as such. aws_chain.h finds it
 * wherever it may come from. */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aws_profile.h"

struct aws_credentials {
    char access_key_id[129];
    char secret_access_key[257];
    char session_token[8193];   /* "" where the key is a lasting one */
    int64_t expires;            /* CLOCK_REALTIME, seconds; 0: never, or not known */
    char place[PATH_MAX + 512]; /* where they were found, for people */
};

/*
 * Reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
 *
 * @ret  to be wiped with aws_credentials_wipe()
 * @why  of -EINVAL: the reason and the mend, for people
 *
 * Returns 1, 0 (no key is there) or -EINVAL (there is one, but it is not whole).
 */
int aws_credentials_of_environment(struct aws_credentials *ret, char *why, size_t why_size);

/*
 * Reads a profile's key from the credentials file, or else from the config file: all three values
 * are of one file.
 *
 * @name  of the profile
 *
 * Returns as aws_credentials_of_environment().
 */
int aws_credentials_of_profile(const struct aws_profile *profile, const char *name,
                               struct aws_credentials *ret, char *why, size_t why_size);

/*
 * Whether the three values may travel in HTTP headers, where a line break would begin another
 * header: printable characters without blanks, and a key that has both its parts.
 */
bool aws_credentials_are_whole(const struct aws_credentials *credentials);

/* Cuts a server's words off where they quote the key, its id or its token, as some do of a request
 * that they don't like. */
void aws_credentials_censor(const struct aws_credentials *credentials, char *words);

void aws_credentials_wipe(struct aws_credentials *credentials);

static inline void cleanup_aws_credentials(struct aws_credentials *credentials)
{
    aws_credentials_wipe(credentials);
}
#define _cleanup_aws_credentials_ __attribute__((cleanup(cleanup_aws_credentials)))
