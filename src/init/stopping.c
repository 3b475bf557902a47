#include "init/stopping.h"

#include <signal.h>

/* Left of the runtime's patience for coreinit itself, once the collector's time is over. */
#define MARGIN_MS 2000

int64_t stopping_deadline(const struct stopping *stopping, int64_t now_ms)
{
    /* The margin later: a collector that is at its deadline is to be killed, not forgiven. */
    return stopping->deadline && now_ms < stopping->deadline + MARGIN_MS ? stopping->deadline
                                                                         : INT64_MAX;
}

void stopping_ask(struct stopping *stopping, int signo, uint32_t timeout, int64_t now_ms)
{
    const int64_t left = (int64_t)timeout * 1000;

    if (signo == SIGTERM || !timeout)
        stopping->asked_until = INT64_MAX;
    else if (stopping->asked_until < now_ms + left)
        stopping->asked_until = now_ms + left;
    if (timeout && stopping_deadline(stopping, now_ms) == INT64_MAX)
        stopping->deadline = now_ms + left - (left / 2 < MARGIN_MS ? left / 2 : MARGIN_MS);
}

bool stopping_is_asked(const struct stopping *stopping, int64_t now_ms)
{
    return now_ms < stopping->asked_until;
}
