#pragma once

/* Which certificate authorities vouch for the server. */

#include <stddef.h>

#include "store/aws_profile.h"

/*
 * Finds the file: AWS_CA_BUNDLE, the profile's ca_bundle, CURL_CA_BUNDLE, SSL_CERT_FILE, then
 * etc/ca-certificates.crt in the directory above this executable's own, where the packaged corectl
 * (/opt/coreinit/bin) has it.
 *
 * @profile  or NULL
 *
 * Returns 1 with a path, or 0 (leave it to libcurl's default).
 */
int ca_bundle_find(const struct aws_profile *profile, char *ret, size_t size);
