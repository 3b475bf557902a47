#include "store/ca_bundle.h"
#include "util/own_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ca_bundle_find(char *ret, size_t size)
{
    static const char *const variables[] = {"AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *path = getenv(variables[i]);

        if (path && path[0] != '\0' && strlen(path) < size) {
            strcpy(ret, path);
            return 1;
        }
    }

    return own_path("../etc/ca-certificates.crt", ret, size) == 0 && access(ret, R_OK) == 0;
}
