#include "bundle/crash_cause.h"

#include <signal.h>
#include <stdlib.h>

#include "util/core_signals.h"
#include "util/proc_text.h"

/* What a shell adds to its child's signal. */
#define REPORTED 128

const char *crash_cause_name(enum crash_cause cause)
{
    static const char *const names[] = {
        [CAUSE_SIGNAL] = "signal", [CAUSE_OOM_KILL] = "oom-kill", [CAUSE_KILL] = "kill",
        [CAUSE_STOP] = "stop",     [CAUSE_EXIT] = "exit",         [CAUSE_SNAPSHOT] = "snapshot",
    };

    return names[cause];
}

static bool read_count(const char *events, uint64_t *ret)
{
    const char *count = proc_line(events, "oom_kill "); /* version 1 has oom_kill_disable too */
    char *end;

    if (!count)
        return false;
    *ret = strtoull(count, &end, 10);
    return end > count && (*end == '\n' || !*end);
}

bool crash_oom_kills(const struct crash_record *record, uint64_t *ret)
{
    uint64_t before, now;

    if (!read_count(record->memory_events[0], &before) ||
        !read_count(record->memory_events[1], &now))
        return false;
    *ret = now > before ? now - before : 0;
    return true;
}

static bool is_killed(const struct crash_record *record)
{
    return record->wait_code == CLD_EXITED ? record->wait_status == REPORTED + SIGKILL
                                           : record->wait_status == SIGKILL;
}

enum crash_cause crash_cause_of(const struct crash_record *record, bool has_core)
{
    const bool exited = record->wait_code == CLD_EXITED;
    uint64_t oom_kills;

    if (has_core || (!exited && signal_dumps_core(record->wait_status)))
        return CAUSE_SIGNAL;
    if (is_killed(record) && crash_oom_kills(record, &oom_kills) && oom_kills > 0)
        return CAUSE_OOM_KILL;
    if (record->was_asked_to_stop)
        return CAUSE_STOP;
    return exited ? CAUSE_EXIT : CAUSE_KILL;
}
