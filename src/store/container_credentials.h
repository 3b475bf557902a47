#pragma once

/*
 * Credentials that the container's platform serves (AWS SDKs and Tools Reference Guide, "Container
 * credential provider"): an ECS task's role at AWS_CONTAINER_CREDENTIALS_RELATIVE_URI of
 * 169.254.170.2, an EKS pod's identity at AWS_CONTAINER_CREDENTIALS_FULL_URI, with
 * AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, which is read anew each time, or …_TOKEN.
 */

#include "store/aws_search.h"

/* An aws_source: 0 where neither URI is set. */
aws_source container_credentials;

/*
 * Whether a full URI may be asked: by https, or at a loopback address, ECS's 169.254.170.2, or
 * EKS's 169.254.170.23 or [fd00:ec2::23]. The token would be sent to it, and its answer believed.
 */
bool container_uri_is_allowed(const char *uri);
