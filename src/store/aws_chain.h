#pragma once

/*
 * Where credentials come from: the AWS SDKs' "default credential provider chain" (AWS SDKs and
 * Tools Reference Guide, "Standardized credential providers"). The first source that is configured
 * is the one; that it fails is told, and never hidden by asking the next.
 *
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   2. the profile that AWS_PROFILE names, or "default": role_arn with source_profile,
 *      credential_source or web_identity_token_file; a key; credential_process
 *   3. AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN (EKS: IAM roles for service accounts)
 *   4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (ECS) or _FULL_URI (EKS Pod Identity)
 *   5. the EC2 instance's role, by version 2 of its metadata service
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aws_credentials.h"
#include "store/aws_profile.h"

struct aws_chain;

/*
 * Prepares the chain; nothing is asked yet. curl_global_init() has been called.
 *
 * @profile      must outlive the chain
 * @region       whose STS is asked, where AWS_REGION, AWS_DEFAULT_REGION and the profile say
 *               nothing; "" and NULL: the global one
 * @allow_http   STS may be an endpoint without TLS that isn't on a loopback address
 * @deadline_ns  of monotonic_ns(), must outlive the chain, and may be moved by other threads:
 *               aws_chain_get() gives up then, within a second. 0: none but the time-outs of each
 *               source (a minute or so in all)
 * @ret          to be freed with aws_chain_close()
 *
 * Returns 0 or -ENOMEM.
 */
int aws_chain_open(const struct aws_profile *profile, const char *region, bool allow_http,
                   const _Atomic int64_t *deadline_ns, struct aws_chain **ret);

/*
 * Makes sure of credentials that will do for the next request: finds them the first time, finds
 * them anew from 5 minutes before they expire on, and at once with @force (the server said
 * ExpiredToken, or that it doesn't know the key). Cheap where there is nothing to do.
 *
 * Where finding them anew fails, @in_out stays what it is, without @force even if it has expired:
 * the own clock may be wrong, and the server is the judge. Unforced, that isn't tried again within
 * a minute. The source that was used, or why the renewal failed, is logged.
 *
 * @in_out  all zero the first time; to be wiped with aws_credentials_wipe()
 * @why     where it returns an error: the reason and the mend, for people
 *
 * Returns 1 (@in_out is new), 0 (it is good as it is), or
 *   -ENOKEY        there are no credentials anywhere
 *   -EINVAL        a setting, a profile or a file is malformed
 *   -ENOTSUP       they need what is not done here: a person's sign-in (SSO, MFA)
 *   -EACCES        the source refuses to give any
 *   -EAGAIN        the source says that it can't now (5xx, 429)
 *   -EPROTO        its answer is not understood
 *   -ETIMEDOUT     the deadline came, or the source doesn't answer
 *   -ECONNREFUSED, -EHOSTUNREACH, -EIO  it can't be asked
 *   -ENOMEM
 */
int aws_chain_get(struct aws_chain *chain, bool force, struct aws_credentials *in_out, char *why,
                  size_t why_size);

/* NULL is fine. */
void aws_chain_close(struct aws_chain *chain);
