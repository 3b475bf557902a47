#include "capture/crash_facts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/core_signals.h"
#include "util/proc_text.h"

#define SECOND_NS 1000000000ll

/* linux/capability.h; not worth a dependency on libcap. */
#define CAP_DAC_OVERRIDE_BIT 1

static void find_pids(const struct crash_record *record, struct crash_facts *ret)
{
    const char *pids = proc_line(record->status, "NSpid:");
    const char *parent = proc_stat_field(record->stat, PROC_STAT_PPID);
    size_t namespaces = 0;
    char *end;

    ret->pid = record->pid; /* Linux before 4.1 has no NSpid */
    /* From the reader's namespace inwards, tab-separated: the process's own is the last. */
    for (; pids && *pids == '\t'; pids = end, namespaces++) {
        long pid = strtol(pids + 1, &end, 10);

        if (end == pids + 1)
            break;
        ret->pid = (pid_t)pid;
    }
    if (namespaces == 1 && parent)
        ret->ppid = (pid_t)strtol(parent, NULL, 10);
}

/* Field 2 of /proc/PID/stat. A backslash is procfs's escape: that name isn't as the core has it. */
static void find_comm(const char *stat, char *ret, size_t size)
{
    const char *begin = strchr(stat, '(');
    const char *end = strrchr(stat, ')');
    size_t length;

    if (!begin || !end || end < begin)
        return;
    length = (size_t)(end - ++begin);
    if (length < size && !memchr(begin, '\\', length))
        memcpy(ret, begin, length);
}

/* Returns whether it can be told in nanoseconds. */
static bool to_ns(const struct timespec *when, int64_t *ret)
{
    return !__builtin_mul_overflow((int64_t)when->tv_sec, SECOND_NS, ret) &&
           !__builtin_add_overflow(*ret, (int64_t)when->tv_nsec, ret);
}

static bool find_start(const struct crash_record *record, struct timespec *ret)
{
    const long ticks_a_second = sysconf(_SC_CLK_TCK);
    const char *field = proc_stat_field(record->stat, PROC_STAT_STARTTIME);
    unsigned long long ticks;
    int64_t start, ended, uptime, age;

    if (!field || sscanf(field, "%llu", &ticks) != 1 ||
        ticks / (unsigned long)ticks_a_second >= INT64_MAX / SECOND_NS ||
        !to_ns(&record->ended_boottime, &uptime) || !to_ns(&record->ended_realtime, &ended))
        return false;
    start = (int64_t)(ticks / (unsigned long)ticks_a_second) * SECOND_NS +
            (int64_t)(ticks % (unsigned long)ticks_a_second) * (SECOND_NS / ticks_a_second);
    if (uptime < start)
        return false;
    age = uptime - start;
    if (age > ended)
        return false;
    ret->tv_sec = (ended - age) / SECOND_NS;
    ret->tv_nsec = (ended - age) % SECOND_NS;
    return true;
}

static bool find_limit(const char *limits, const char *name, uint64_t *ret)
{
    const char *line = proc_line(limits, name);
    char soft[24];

    if (!line || sscanf(line, "%23s", soft) != 1)
        return false;
    *ret = strcmp(soft, "unlimited") == 0 ? UINT64_MAX : strtoull(soft, NULL, 10);
    return true;
}

/* The fourth of real, effective, saved and file system id. */
static int64_t find_fs_id(const char *status, const char *name)
{
    const char *line = proc_line(status, name);
    long long id;

    return line && sscanf(line, "%*s %*s %*s %lld", &id) == 1 ? id : -1;
}

static bool has_capability(const char *status, unsigned bit)
{
    const char *line = proc_line(status, "CapEff:");

    return line && (strtoull(line, NULL, 16) >> bit & 1);
}

struct crash_facts crash_facts_of(const struct crash_record *record)
{
    struct crash_facts facts = {.file_limit = UINT64_MAX};

    facts.of_child = record->wait_code == CLD_EXITED;
    facts.signo = record->wait_status;
    if (facts.of_child)
        facts.signo = facts.signo > 128 ? facts.signo - 128 : 0;
    if (!signal_dumps_core(facts.signo))
        facts.signo = 0;
    find_pids(record, &facts);
    find_comm(record->stat, facts.comm, sizeof(facts.comm));
    facts.knows_start = find_start(record, &facts.started);
    facts.knows_core_limit = find_limit(record->limits, "Max core file size", &facts.core_limit);
    (void)find_limit(record->limits, "Max file size", &facts.file_limit);
    facts.fs_uid = find_fs_id(record->status, "Uid:");
    facts.fs_gid = find_fs_id(record->status, "Gid:");
    facts.ignores_modes = has_capability(record->status, CAP_DAC_OVERRIDE_BIT);
    return facts;
}

bool crash_facts_in_group(const struct crash_facts *facts, const struct crash_record *record,
                          gid_t gid)
{
    const char *groups = proc_line(record->status, "Groups:");
    char *end;

    if (facts->fs_gid == (int64_t)gid)
        return true;
    for (; groups && *groups != '\n'; groups = end) {
        unsigned long group = strtoul(groups, &end, 10);

        if (end == groups)
            break;
        if (group == gid)
            return true;
        end += *end == ' ';
    }
    return false;
}
