#include "capture/dumpable.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/proc_text.h"

enum { SEES_IT, SEES_NOTHING, CANNOT_TELL };

static bool read_ids(const char *status, const char *name, unsigned ret[3])
{
    const char *line = proc_line(status, name);

    return line && sscanf(line, "%u %u %u", &ret[0], &ret[1], &ret[2]) == 3;
}

static bool are_all(const unsigned ids[3], unsigned id)
{
    return ids[0] == id && ids[1] == id && ids[2] == id;
}

/* Gives CAP_SYS_PTRACE up. Returns false where that fails; what is left is in @ret. */
static bool reduce_capabilities(uint64_t *ret)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    data[0].effective &= ~(1u << CAP_SYS_PTRACE);
    *ret = data[0].effective | (uint64_t)data[1].effective << 32;
    return syscall(SYS_capset, &header, data) == 0;
}

/*
 * In the child: the links in /proc/PID are for who may trace it (PTRACE_MODE_READ, ptrace(2)), that
 * is for the same user with at least the same capabilities, if it is dumpable.
 */
static int look(pid_t pid, uint64_t its_capabilities)
{
    uint64_t own_capabilities;
    char path[32], exe[16];

    if (!reduce_capabilities(&own_capabilities) || its_capabilities & ~own_capabilities)
        return CANNOT_TELL;
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (readlink(path, exe, sizeof(exe)) > 0)
        return SEES_IT;
    return errno == EACCES || errno == EPERM ? SEES_NOTHING : CANNOT_TELL;
}

static int look_as_its_equal(pid_t pid, const char *status)
{
    const char *permitted = proc_line(status, "CapPrm:");
    int end = 0;
    pid_t child = permitted ? fork() : -1;

    if (child == 0)
        _exit(look(pid, strtoull(permitted, NULL, 16)));
    if (child < 0 || waitpid(child, &end, 0) != child || !WIFEXITED(end) ||
        WEXITSTATUS(end) == CANNOT_TELL)
        return -ENODATA;
    return WEXITSTATUS(end) == SEES_IT;
}

int process_dumpable(pid_t pid, const char *status)
{
    unsigned uids[3], gids[3];
    struct stat file;
    char path[32];

    if (!read_ids(status, "Uid:", uids) || !read_ids(status, "Gid:", gids))
        return -ENODATA;
    /* Files of an undumpable process are root's (proc(5)); the directory itself is exempt. */
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (stat(path, &file) < 0)
        return -ENODATA;
    if (uids[1] != 0 || gids[1] != 0)
        return file.st_uid == uids[1] && file.st_gid == gids[1];
    return are_all(uids, geteuid()) && are_all(gids, getegid()) ? look_as_its_equal(pid, status)
                                                                : -ENODATA;
}
