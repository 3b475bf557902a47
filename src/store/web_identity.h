#pragma once

/* A role for who an identity provider says that this is, as the environment sets it (EKS: IAM roles
 * for service accounts): AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME. */

#include "store/aws_search.h"

/* An aws_source: 0 where AWS_WEB_IDENTITY_TOKEN_FILE isn't set. */
aws_source web_identity_credentials;
