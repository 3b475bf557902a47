#include "store/ca_bundle.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ca_bundle_find(char *ret, size_t size)
{
    static const char *const variables[] = {"AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    char exe[PATH_MAX];
    char *slash;
    ssize_t n;

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *path = getenv(variables[i]);

        if (path && path[0] != '\0' && strlen(path) < size) {
            strcpy(ret, path);
            return 1;
        }
    }

    n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n < 0)
        return 0;
    exe[n] = '\0';
    slash = strrchr(exe, '/');
    if (!slash)
        return 0;
    n = snprintf(ret, size, "%.*s/../etc/ca-certificates.crt", (int)(slash - exe), exe);
    return (size_t)n < size && access(ret, R_OK) == 0;
}
