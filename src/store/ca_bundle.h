#pragma once

/* Which certificate authorities vouch for the server. */

#include <stddef.h>

/*
 * Finds the file: AWS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE, then etc/ca-certificates.crt in the
 * directory above this executable's own, where the packaged corectl (/opt/coreinit/bin) has it.
 *
 * Returns 1 with a path, or 0 (leave it to libcurl's default).
 */
int ca_bundle_find(char *ret, size_t size);
