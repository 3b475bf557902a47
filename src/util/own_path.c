#include "util/own_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int own_path(const char *name, char *ret, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
    const char *slash;

    ret[0] = '\0';
    if (n < 0 || (size_t)n >= sizeof(self))
        return n < 0 ? -errno : -ENAMETOOLONG;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return -ENOENT;
    if ((size_t)snprintf(ret, size, "%.*s/%s", (int)(slash - self), self, name) < size)
        return 0;
    ret[0] = '\0';
    return -ENAMETOOLONG;
}
