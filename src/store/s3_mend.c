#include "store/s3_mend.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/log.h"

#define MOST_REDIRECTS 2

/* S3 allows for 15 minutes, but a clock that is 5 wrong may be the reason for other refusals: HEAD
 * gives none. */
#define MOST_SKEW_SECONDS 300

static bool follow(struct s3 *s3, const struct s3_response *response, struct s3_mends *done)
{
    const char *region = response->region[0] ? response->region : response->reply.region;

    if (!s3->failure.is_elsewhere || done->redirects == MOST_REDIRECTS)
        return false;
    if (s3_address_move(&s3->address, region) < 0 &&
        s3_address_follow(&s3->address, response->location) < 0)
        return false;
    done->redirects++;
    log_info("bucket %s is in region %s: requests go to %s", s3->address.bucket, s3->address.region,
             s3->address.base);
    return true;
}

static bool set_clock(struct s3 *s3, const struct s3_response *response, struct s3_mends *done)
{
    const time_t server = response->date[0] ? curl_getdate(response->date, NULL) : -1;
    const int64_t offset = (int64_t)server - time(NULL);

    if (response->status != 403 || server < 0 || done->is_clock_set ||
        llabs(offset - s3->clock_offset) < MOST_SKEW_SECONDS)
        return false;
    done->is_clock_set = true;
    s3->clock_offset = offset;
    log_warning("this machine's clock is %lld s %s that of %s: requests carry the server's time",
                llabs(offset), offset > 0 ? "behind" : "ahead of", s3->address.base);
    return true;
}

static bool renew(struct s3 *s3, struct s3_mends *done)
{
    static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException",
                                        "TokenRefreshRequired", "InvalidToken",
                                        "InvalidAccessKeyId"};
    char before[sizeof(s3->credentials.access_key_id)], why[3 * PATH_MAX];
    bool is_one = false;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        is_one |= strcmp(s3->failure.code, codes[i]) == 0;
    if (!is_one || done->is_renewed)
        return false;
    done->is_renewed = true;
    strcpy(before, s3->credentials.access_key_id);
    return aws_chain_get(s3->chain, true, &s3->credentials, why, sizeof(why)) == 1 &&
           strcmp(before, s3->credentials.access_key_id) != 0;
}

bool s3_mend(struct s3 *s3, const struct s3_response *response, struct s3_mends *done)
{
    return follow(s3, response, done) || set_clock(s3, response, done) || renew(s3, done);
}
