#include "ctl/stand_in.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/proc_text.h"

/* The kernel takes 2 MiB of arguments and environment, unless the stack's limit is raised. */
#define MOST_ENVIRONMENT ((size_t)4 << 20)

#define MOST_GROUPS 64

static size_t read_groups(pid_t pid, gid_t *ret, size_t room)
{
    char path[32], status[8192];
    const char *groups;
    size_t n = 0;
    char *end;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    if (read_text_at(AT_FDCWD, path, status, sizeof(status)) < 0)
        return 0;
    for (groups = proc_line(status, "Groups:"); groups && *groups != '\n' && n < room;
         groups = end + (*end == ' ')) {
        const unsigned long group = strtoul(groups, &end, 10);

        if (end == groups)
            break;
        ret[n++] = (gid_t)group;
    }
    return n;
}

static int take_user(pid_t coreinit)
{
    gid_t gid, groups[MOST_GROUPS];
    uid_t uid;

    if (!tracee_effective_ids(coreinit, &uid, &gid))
        return -ESRCH;
    if (uid == geteuid() && gid == getegid())
        return 0;
    return setgroups(read_groups(coreinit, groups, MOST_GROUPS), groups) < 0 ||
                   setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0
               ? -errno
               : 0;
}

static int take_environment(pid_t coreinit)
{
    _cleanup_free_ char *text = malloc(MOST_ENVIRONMENT);
    _cleanup_close_ int fd = -1;
    char path[32];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/environ", coreinit);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = text ? read_full(fd, text, MOST_ENVIRONMENT - 1) : -ENOMEM;
    if (n < 0)
        return (int)n;
    text[n] = '\0';
    (void)clearenv();
    for (char *at = text; at < text + n; at += strlen(at) + 1) {
        char *value = strchr(at, '=');

        if (!value || value == at)
            continue;
        *value = '\0';
        if (setenv(at, value + 1, 1) < 0)
            return -errno;
        at = value + 1;
    }
    return 0;
}

static int take_directory(pid_t coreinit)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/cwd", coreinit);
    return chdir(path) < 0 ? -errno : 0;
}

static const struct {
    const char *what;
    int (*take)(pid_t coreinit);
} parts[] = {
    /* First: it may be what the others need. */
    {"user", take_user},
    {"environment", take_environment},
    {"working directory", take_directory},
};

void stand_in_for(pid_t coreinit, char *lacks, size_t lacks_size)
{
    size_t used = 0;

    lacks[0] = '\0';
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const int r = parts[i].take(coreinit);

        if (r < 0 && used < lacks_size)
            used += (size_t)snprintf(lacks + used, lacks_size - used, "%s%s (%s)", used ? ", " : "",
                                     parts[i].what, strerrordesc_np(-r));
    }
}
