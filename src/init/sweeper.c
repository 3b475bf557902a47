#include "init/sweeper.h"

#include <stddef.h>

#include "init/collector.h"
#include "init/signals.h"
#include "util/log.h"

/* The program's own start goes first, and what lives no longer than that has nobody to sweep. */
#define FIRST_PAUSE_MS 1000

#define MINUTE_MS 60000ll
#define LONGEST_PAUSE 60 /* minutes */

void sweeper_begin(struct sweeper *sweeper, const char *corectl,
                   const struct crash_settings *settings, int64_t now_ms)
{
    *sweeper = (struct sweeper){.settings = settings, .next = INT64_MAX};
    if (!corectl || !settings->cores_dir[0] || !settings->bucket[0])
        return;
    sweeper->corectl = corectl;
    sweeper->next = now_ms + FIRST_PAUSE_MS;
}

void sweeper_attend(struct sweeper *sweeper, int64_t now_ms)
{
    pid_t pid;

    if (sweeper->pid || now_ms < sweeper->next)
        return;
    sweeper->next = INT64_MAX;
    pid = collector_sweep(sweeper->corectl, sweeper->settings);
    sweeper->pid = pid > 0 ? pid : 0;
    sweeper->is_told = false;
}

unsigned sweeper_schedule(struct sweeper *sweeper, int64_t now_ms)
{
    unsigned minutes = 1u << sweeper->failures;

    if (!sweeper->corectl)
        return 0;
    if (sweeper->next != INT64_MAX)
        return (unsigned)((sweeper->next - now_ms) / MINUTE_MS) + 1;
    if (minutes < LONGEST_PAUSE)
        sweeper->failures++;
    else
        minutes = LONGEST_PAUSE;
    sweeper->next = now_ms + minutes * MINUTE_MS;
    return minutes;
}

bool sweeper_see_end(struct sweeper *sweeper, const siginfo_t *end, int64_t now_ms)
{
    const bool is_killed = end->si_code != CLD_EXITED;
    unsigned minutes;
    char text[24];

    if (!sweeper->pid || end->si_pid != sweeper->pid)
        return false;
    sweeper->pid = 0;
    if (!is_killed && end->si_status != COLLECTOR_TEMPFAIL) {
        if (end->si_status == 0)
            sweeper->failures = 0;
        return true;
    }
    minutes = sweeper_schedule(sweeper, now_ms);
    if (is_killed)
        log_warning("corectl was killed by %s while it sent earlier bundles: it is tried again in "
                    "%u min",
                    signal_text(end->si_status, text, sizeof(text)), minutes);
    else if (!sweeper->is_told)
        log_warning("earlier bundles are not all sent: it is tried again in %u min", minutes);
    return true;
}

void sweeper_stop(struct sweeper *sweeper, int64_t left_ms)
{
    if (sweeper->pid && !sweeper->is_told)
        collector_tell_deadline(sweeper->pid, left_ms);
    sweeper->is_told = true;
}
