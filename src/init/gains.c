#include "init/gains.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

bool program_find(const char *program, char *ret, size_t size)
{
    const char *path = getenv("PATH");

    if (strchr(program, '/'))
        return (size_t)snprintf(ret, size, "%s", program) < size && access(ret, X_OK) == 0;
    if (!path)
        path = "/bin:/usr/bin";
    for (;;) {
        const size_t part = strcspn(path, ":");

        if ((size_t)snprintf(ret, size, "%.*s/%s", part ? (int)part : 1, part ? path : ".",
                             program) < size &&
            access(ret, X_OK) == 0)
            return true;
        if (!path[part])
            return false;
        path += part + 1;
    }
}

bool program_gains_privileges(const char *program)
{
    char path[PATH_MAX];
    struct statvfs file_system;
    struct stat st;

    /* no_new_privs and nosuid give nothing either, traced or not. */
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || !program_find(program, path, sizeof(path)) ||
        stat(path, &st) < 0 || statvfs(path, &file_system) < 0 || (file_system.f_flag & ST_NOSUID))
        return false;
    if ((st.st_mode & S_ISUID) && st.st_uid != geteuid())
        return true;
    if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getegid())
        return true;
    return geteuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0;
}
