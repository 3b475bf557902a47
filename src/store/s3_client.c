#include "store/s3_client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/s3_mend.h"
#include "store/s3_sign.h"
#include "store/s3_transfer.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/log.h"

int s3_fail(struct s3 *s3, int error, const char *words)
{
    s3_failure_of(error, &s3->failure, "%s", words);
    return error;
}

int s3_fail_reading(struct s3 *s3, int error)
{
    return s3_fail(s3, error,
                   error == -ENODATA ? "the file became shorter while it was sent"
                                     : strerrordesc_np(-error));
}

static int make_url(struct s3 *s3, const struct s3_request *request, char **ret)
{
    int r = s3_address_url(&s3->address, request->name, request->query, ret);

    if (r == -ENAMETOOLONG)
        return s3_fail(s3, r, "the key is longer than S3's 1024 bytes; shorten S3_KEY_PREFIX");
    return r < 0 ? s3_fail(s3, r, strerrordesc_np(-r)) : 0;
}

static int make_headers(const struct s3 *s3, const struct s3_request *request, const char *url,
                        const char *sha256, struct s3_headers *ret)
{
    const struct s3_signed_request sign = {.method = request->method,
                                           .url = url,
                                           .region = s3->address.region,
                                           .sha256 = sha256,
                                           .now = time(NULL) + s3->clock_offset};
    int r = s3_headers_append(ret, &s3->request_headers);

    if (r == 0 && request->makes_object)
        r = s3_headers_append(ret, &s3->object_headers);
    if (r == 0 && request->headers)
        r = s3_headers_append(ret, request->headers);
    if (r == 0)
        r = s3_headers_add(ret, "content-type", request->content_type);
    return r < 0 ? r : s3_sign(&sign, &s3->credentials, ret);
}

static int refresh_credentials(struct s3 *s3)
{
    char why[3 * PATH_MAX];
    int r;

    r = aws_chain_get(s3->chain, false, &s3->credentials, why, sizeof(why));
    return r < 0 ? s3_fail(s3, r, why) : 0;
}

/* URL, headers and signature are made for each attempt: place, clock and key may be others. */
static int try_once(struct s3 *s3, const struct s3_request *request, const char *sha256,
                    struct s3_response *ret)
{
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    _cleanup_free_ char *url = NULL;
    int r = refresh_credentials(s3);

    memset(ret, 0, sizeof(*ret));
    if (r == 0)
        r = make_url(s3, request, &url);
    if (r < 0)
        return r;
    r = make_headers(s3, request, url, sha256, &headers);
    if (r < 0)
        return s3_fail(s3, r, r == -EINVAL ? "a header's value is malformed" : strerrordesc_np(-r));
    return s3_transfer(s3, request, url, &headers, ret);
}

/* Waits, but not beyond the deadline, which may be set meanwhile. */
static void wait_ms(struct s3 *s3, unsigned ms)
{
    const int64_t end = monotonic_ns() + ms * 1000000ll;
    struct pollfd wake = {.fd = s3->wake_fd, .events = POLLIN};
    uint64_t count;

    for (;;) {
        const int64_t pause = (end - monotonic_ns()) / 1000000, left = s3_ms_left(s3);

        if (pause <= 0 || left == 0)
            return;
        if (poll(&wake, 1, (int)(left < pause ? left : pause)) == 1)
            (void)!read(s3->wake_fd, &count, sizeof(count));
    }
}

int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret)
{
    struct s3_mends mends = {0};
    char sha256[2 * SHA256_BYTES + 1];
    unsigned pause;
    int r = 0;

    if (!request->sha256)
        r = sha256_hex(request->body.data ? request->body.data : "", (size_t)request->body.size,
                       sha256);
    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));

    for (unsigned attempt = 1;;) {
        r = try_once(s3, request, request->sha256 ? request->sha256 : sha256, ret);
        if (r == 0) {
            s3_retry_succeeded(&s3->retry, attempt);
            return 0;
        }
        if (ret->status != 0 && s3_mend(s3, ret, &mends))
            continue;
        if (!s3->failure.transient || s3->is_hasty ||
            !s3_retry_again(&s3->retry, attempt, s3->failure.error == -ETIMEDOUT, &pause))
            return r;
        log_info("sending %s failed, trying again in %u ms (%u of %u): %s", request->name, pause,
                 attempt, s3->retry.max_attempts - 1, s3->failure.words);
        wait_ms(s3, pause);
        attempt++;
    }
}
