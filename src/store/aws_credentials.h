#pragma once

/* Who we are to AWS: an access key, for now from the environment or from the profile files. */

#include <limits.h>

#include "store/aws_profile.h"

struct aws_credentials {
    char access_key_id[129];
    char secret_access_key[257];
    char session_token[8193];   /* "" where the key is a lasting one */
    char place[PATH_MAX + 512]; /* where they were found, for people */
};

/*
 * Finds credentials where the AWS SDKs look first: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN, then the profile in the credentials file, then in the config file. All three
 * values come from one place.
 *
 * @ret  to be wiped with aws_credentials_wipe()
 * @why  where there are none: the reason and the mend, for people
 *
 * Returns 0, -ENOKEY (none are there) or -EINVAL (some are, but they are not whole).
 */
int aws_credentials_find(const struct aws_profile *profile, struct aws_credentials *ret, char *why,
                         size_t why_size);

void aws_credentials_wipe(struct aws_credentials *credentials);
