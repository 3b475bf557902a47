#include "init/restart.h"

#define HOUR_MS 3600000ll
#define LONG_LIFE_MS 600000ll
#define LONGEST_PAUSE_S 60

uint32_t restarts_of_last_hour(const struct restarts *restarts, int64_t now_ms)
{
    const uint32_t kept = restarts->n < MOST_RESTARTS ? restarts->n : MOST_RESTARTS;
    uint32_t n = 0;

    for (uint32_t i = 0; i < kept; i++)
        n += restarts->at[i] > now_ms - HOUR_MS;
    return n;
}

int64_t restart_pause(struct restarts *restarts, uint32_t limit, int64_t life_ms, int64_t now_ms)
{
    int64_t seconds;

    if (limit && restarts_of_last_hour(restarts, now_ms) >= limit)
        return -1;
    if (life_ms >= LONG_LIFE_MS)
        restarts->n_short = 0;
    seconds = 1ll << restarts->n_short;
    if (seconds >= LONGEST_PAUSE_S)
        return LONGEST_PAUSE_S * 1000;
    restarts->n_short++;
    return seconds * 1000;
}

void restart_count(struct restarts *restarts, int64_t now_ms)
{
    restarts->at[restarts->n++ % MOST_RESTARTS] = now_ms;
}
