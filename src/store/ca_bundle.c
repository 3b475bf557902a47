#include "store/ca_bundle.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/own_path.h"

static int take_variable(const char *name, char *ret, size_t size)
{
    const char *path = getenv(name);

    if (!path || path[0] == '\0' || strlen(path) >= size)
        return 0;
    strcpy(ret, path);
    return 1;
}

int ca_bundle_find(const struct aws_profile *profile, char *ret, size_t size)
{
    if (take_variable("AWS_CA_BUNDLE", ret, size) == 1 ||
        (profile && aws_profile_get(profile, AWS_FILE_CONFIG, "ca_bundle", ret, size) == 1) ||
        take_variable("CURL_CA_BUNDLE", ret, size) == 1 ||
        take_variable("SSL_CERT_FILE", ret, size) == 1)
        return 1;
    return own_path("../etc/ca-certificates.crt", ret, size) == 0 && access(ret, R_OK) == 0;
}
