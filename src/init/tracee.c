#include "init/tracee.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/io.h"
#include "util/proc_text.h"

/* Long enough for what stands before and right behind the groups, unless these are hundreds. */
#define STATUS_BYTES 4096

static bool read_status(pid_t tid, char ret[STATUS_BYTES])
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/status", tid);
    return read_text_at(AT_FDCWD, path, ret, STATUS_BYTES) >= 0;
}

/* A number of proc_pid_status(5), 0 where it isn't there. */
static pid_t number_in(const char *status, const char *name)
{
    const char *number = proc_line(status, name);

    return number ? (pid_t)strtol(number, NULL, 10) : 0;
}

/* The line has a number for each namespace, from ours to its own. */
static bool is_init_below(const char *status)
{
    const char *numbers = proc_line(status, "NStgid:");
    long number;
    char *end;
    int levels = 0;

    if (!numbers)
        return false;
    for (number = strtol(numbers, &end, 10); *end == '\t'; levels++)
        number = strtol(end, &end, 10);
    return levels > 0 && number == 1;
}

pid_t tracee_process(pid_t tid, bool *ret_is_init)
{
    char status[STATUS_BYTES];

    if (!read_status(tid, status))
        return 0;
    if (ret_is_init)
        *ret_is_init = is_init_below(status);
    return number_in(status, "Tgid:");
}

bool tracee_is_thread(pid_t tid)
{
    const pid_t pid = tracee_process(tid, NULL);

    return pid != 0 && pid != tid;
}

pid_t tracee_parent(pid_t pid)
{
    char status[STATUS_BYTES];

    return read_status(pid, status) ? number_in(status, "PPid:") : 0;
}

bool tracee_is_ours(pid_t tid)
{
    char status[STATUS_BYTES];

    return read_status(tid, status) && number_in(status, "TracerPid:") == getpid();
}

bool tracee_has_default_action(pid_t tid, int signo)
{
    char path[48], stat[1024];
    const char *ignored, *caught;
    unsigned long bits;

    /* /proc/TID/stat would add up all threads. */
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", tid, tid);
    if (read_text_at(AT_FDCWD, path, stat, sizeof(stat)) < 0)
        return false;
    ignored = proc_stat_field(stat, PROC_STAT_SIGIGN);
    caught = proc_stat_field(stat, PROC_STAT_SIGCATCH);
    if (!ignored || !caught)
        return false;
    bits = strtoul(ignored, NULL, 10) | strtoul(caught, NULL, 10);
    return !(bits & 1ul << (signo - 1));
}

/* The second number of a line: real, effective, saved and file system ids. */
static bool effective(const char *status, const char *name, unsigned *ret)
{
    const char *ids = proc_line(status, name);
    char *end;

    if (!ids)
        return false;
    (void)strtoul(ids, &end, 10);
    *ret = (unsigned)strtoul(end, NULL, 10);
    return true;
}

bool tracee_effective_ids(pid_t pid, uid_t *ret_uid, gid_t *ret_gid)
{
    char status[STATUS_BYTES];

    return read_status(pid, status) && effective(status, "Uid:", ret_uid) &&
           effective(status, "Gid:", ret_gid);
}
