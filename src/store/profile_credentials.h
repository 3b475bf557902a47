#pragma once

/*
 * What a profile says of credentials (AWS SDKs and Tools Reference Guide, "Assume role credential
 * provider" and "Process credential provider"), in this order: role_arn with source_profile,
 * credential_source or web_identity_token_file; a key; credential_process. A profile that another
 * one takes its source_profile from gives its key, if it has one, before its role.
 */

#include "store/aws_search.h"

/* An aws_source: 0 where the profile says nothing of credentials, or AWS_PROFILE isn't set and
 * there is no profile "default". */
aws_source profile_credentials;
