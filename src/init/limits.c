#include "init/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/io.h"

/* Bits of core(5): 0 anonymous private, 1 anonymous shared, 2 file private, 4 ELF headers, 5 huge
 * private. */
#define FILTER_WANTED 0x37ul

int limits_raise_core(struct rlimit *ret)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    if (setrlimit(RLIMIT_CORE, &unlimited) == 0) {
        *ret = unlimited;
        return 0;
    }
    if (getrlimit(RLIMIT_CORE, ret) < 0)
        return -errno;
    ret->rlim_cur = ret->rlim_max;
    return setrlimit(RLIMIT_CORE, ret) < 0 ? -errno : 0;
}

int limits_set_coredump_filter(void)
{
    char text[32];
    unsigned long filter;
    ssize_t n = read_text_at(AT_FDCWD, "/proc/self/coredump_filter", text, sizeof(text));
    _cleanup_close_ int fd = -1;

    if (n < 0)
        return (int)n;
    filter = strtoul(text, NULL, 16);
    if ((filter & FILTER_WANTED) == FILTER_WANTED)
        return 0;
    snprintf(text, sizeof(text), "0x%lx\n", filter | FILTER_WANTED);
    fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write_text(fd, text);
}

const char *limits_text(rlim_t limit, char *ret, size_t size)
{
    if (limit == RLIM_INFINITY)
        snprintf(ret, size, "unlimited");
    else
        snprintf(ret, size, "%llu bytes", (unsigned long long)limit);
    return ret;
}
