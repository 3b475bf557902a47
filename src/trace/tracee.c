#include "trace/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/io.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

/* Long enough for what stands before and right behind the groups, unless these are hundreds. */
#define STATUS_BYTES 4096
#define STAT_BYTES 1024

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
static bool is_init(const char *status)
{
    const char *numbers = proc_line(status, "NStgid:");
    long number;
    char *end;

    if (!numbers)
        return false;
    for (number = strtol(numbers, &end, 10); *end == '\t';)
        number = strtol(end, &end, 10);
    return number == 1;
}

pid_t tracee_process(pid_t tid, bool *ret_is_init)
{
    char status[STATUS_BYTES];

    if (!read_status(tid, status))
        return 0;
    if (ret_is_init)
        *ret_is_init = is_init(status);
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

bool tracee_shares_namespace(pid_t pid)
{
    char status[STATUS_BYTES];
    const char *numbers = read_status(pid, status) ? proc_line(status, "NSpid:") : NULL;
    char *end;

    return numbers && strtol(numbers, &end, 10) == pid && *end != '\t';
}

int tracee_shares_mounts(pid_t pid)
{
    struct stat own, its;
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
    if (stat("/proc/self/ns/mnt", &own) < 0 || stat(path, &its) < 0)
        return -errno;
    return own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

pid_t tracee_tracer(pid_t tid)
{
    char status[STATUS_BYTES];

    return read_status(tid, status) ? number_in(status, "TracerPid:") : 0;
}

bool tracee_is_ours(pid_t tid)
{
    return tracee_tracer(tid) == getpid();
}

bool tracee_has_thread_of_ours(pid_t pid)
{
    struct pid_reader threads;
    bool is_found = false;
    pid_t tid;

    if (pid_reader_open_threads(&threads, pid) == 0)
        while (!is_found && (tid = pid_reader_next(&threads)))
            is_found = tracee_is_ours(tid);
    pid_reader_close(&threads);
    return is_found;
}

bool tracee_descends_from(pid_t pid, pid_t ancestor)
{
    for (int i = 0; i < MOST_GENERATIONS && pid > 0; i++) {
        pid = tracee_parent(pid);
        if (pid == ancestor)
            return true;
    }
    return false;
}

/* /proc/TID/stat would add up all threads. */
static bool read_stat(pid_t tid, char ret[STAT_BYTES])
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", tid, tid);
    return read_text_at(AT_FDCWD, path, ret, STAT_BYTES) >= 0;
}

char tracee_state(pid_t tid)
{
    char stat[STAT_BYTES];
    const char *state = read_stat(tid, stat) ? proc_stat_field(stat, PROC_STAT_STATE) : NULL;

    return state ? *state : '\0';
}

bool tracee_is_dead(pid_t tid)
{
    const char state = tracee_state(tid);

    return !state || state == 'Z' || state == 'X';
}

pid_t tracee_living_thread(pid_t pid)
{
    pid_t tid, found = tracee_is_dead(pid) ? 0 : pid;
    struct pid_reader threads;

    if (found)
        return found;
    if (pid_reader_open_threads(&threads, pid) == 0)
        while (!found && (tid = pid_reader_next(&threads)))
            found = tracee_is_dead(tid) ? 0 : tid;
    pid_reader_close(&threads);
    return found ? found : pid;
}

bool tracee_has_ended(pid_t pid)
{
    char status[STATUS_BYTES];

    return !read_status(pid, status) || (tracee_is_dead(pid) && number_in(status, "Threads:") <= 1);
}

bool tracee_has_default_action(pid_t tid, int signo)
{
    char stat[STAT_BYTES];
    const char *ignored, *caught;
    unsigned long bits;

    if (!read_stat(tid, stat))
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
