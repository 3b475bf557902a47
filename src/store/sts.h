#pragma once

/* Roles by AWS's Security Token Service (API Reference: AssumeRole, AssumeRoleWithWebIdentity). */

#include "store/aws_search.h"

/* What is asked for; NULL or "": not sent. */
struct sts_role {
    const char *arn;
    const char *session_name; /* "": one is made, coreinit-TIME */
    const char *external_id;
    const char *duration_seconds; /* "": STS's default, an hour */
};

/*
 * Exchanges one key for a role's.
 *
 * STS is that of AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL or the profile's endpoint_url; else the
 * region's own; with AWS_STS_REGIONAL_ENDPOINTS (sts_regional_endpoints) "legacy", and where no
 * region is known, the global one.
 *
 * @by    whose key the request is signed with
 * @ret   without a place
 *
 * Returns 0 or -errno as aws_chain_get(), with search->why.
 */
int sts_assume_role(const struct aws_search *search, const struct aws_credentials *by,
                    const struct sts_role *role, struct aws_credentials *ret);

/*
 * Exchanges an identity provider's token, which is read from its file now, for a role's key.
 *
 * Returns as sts_assume_role(), and -EINVAL where the file has no token.
 */
int sts_assume_role_with_web_identity(const struct aws_search *search, const char *token_file,
                                      const struct sts_role *role, struct aws_credentials *ret);
