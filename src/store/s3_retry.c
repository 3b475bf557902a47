#include "store/s3_retry.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "util/log.h"

#define DEFAULT_ATTEMPTS 8
#define MOST_ATTEMPTS 100
#define FIRST_PAUSE_MS 1000u
#define LONGEST_PAUSE_MS 20000u

#define ALL_TOKENS 500u
#define RETRY_TOKENS 5u
#define TIMEOUT_TOKENS 10u

void s3_retry_init(struct s3_retry *retry, const struct aws_profile *profile)
{
    char of_profile[16];
    const char *text = getenv("AWS_MAX_ATTEMPTS");
    unsigned long attempts;
    char *end;

    retry->tokens = ALL_TOKENS;
    retry->max_attempts = DEFAULT_ATTEMPTS;
    if ((!text || text[0] == '\0') && aws_profile_get(profile, AWS_FILE_CONFIG, "max_attempts",
                                                      of_profile, sizeof(of_profile)) == 1)
        text = of_profile;
    if (!text || text[0] == '\0')
        return;
    attempts = strtoul(text, &end, 10);
    if (*end == '\0' && attempts >= 1 && attempts <= MOST_ATTEMPTS)
        retry->max_attempts = (unsigned)attempts;
    else
        log_warning("AWS_MAX_ATTEMPTS must be 1 to %d, but is '%s': taking %d", MOST_ATTEMPTS, text,
                    DEFAULT_ATTEMPTS);
}

static unsigned up_to(unsigned limit)
{
    uint32_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return limit;
    return random % (limit + 1);
}

bool s3_retry_again(struct s3_retry *retry, unsigned attempts, bool is_timeout,
                    unsigned *ret_pause_ms)
{
    const unsigned cost = is_timeout ? TIMEOUT_TOKENS : RETRY_TOKENS;
    unsigned limit = FIRST_PAUSE_MS;

    if (attempts >= retry->max_attempts || retry->tokens < cost)
        return false;
    retry->tokens -= cost;
    for (unsigned i = 1; i < attempts && limit < LONGEST_PAUSE_MS; i++)
        limit *= 2;
    *ret_pause_ms = up_to(limit < LONGEST_PAUSE_MS ? limit : LONGEST_PAUSE_MS);
    return true;
}

void s3_retry_succeeded(struct s3_retry *retry, unsigned attempts)
{
    retry->tokens += attempts > 1 ? RETRY_TOKENS : 1;
    if (retry->tokens > ALL_TOKENS)
        retry->tokens = ALL_TOKENS;
}
