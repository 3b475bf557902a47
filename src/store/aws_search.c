#include "store/aws_search.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/io.h"

#define ATTEMPTS 3
#define FIRST_PAUSE_MS 500
#define STEP_MS 50

int aws_search_fail(const struct aws_search *search, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(search->why, search->why_size, format, arguments);
    va_end(arguments);
    return error;
}

int environment_credentials(const struct aws_search *search, struct aws_credentials *ret)
{
    return aws_credentials_of_environment(ret, search->why, search->why_size);
}

int aws_search_read_token(const struct aws_search *search, const char *path, char *ret, size_t size)
{
    /* Not blocking: the path may be a pipe that nobody writes to. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -errno : read_full(fd, ret, size);

    if (n <= 0 || (size_t)n == size)
        return aws_search_fail(search, -EINVAL, "the token file %s can't be used: %s", path,
                               n < 0    ? strerrordesc_np((int)-n)
                               : n == 0 ? "it is empty"
                                        : "it is too long");
    ret[n] = '\0';
    return (int)n;
}

int aws_status_error(long status)
{
    if (status == 401 || status == 403)
        return -EACCES;
    if (status == 404)
        return -ENOENT;
    return status == 429 || status >= 500 ? -EAGAIN : -EPROTO;
}

static bool may_pass(int error)
{
    return error == -EAGAIN || error == -ETIMEDOUT || error == -ECONNREFUSED || error == -EIO;
}

/* Many containers that crash together must not come back together. */
static void pause_before(unsigned attempt, const _Atomic int64_t *deadline_ns)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
    const unsigned limit = FIRST_PAUSE_MS << attempt;
    uint32_t ms;

    if (getrandom(&ms, sizeof(ms), 0) != sizeof(ms))
        ms = limit;
    for (unsigned slept = 0; slept < ms % (limit + 1) && !http_is_late(deadline_ns);
         slept += STEP_MS)
        (void)nanosleep(&step, NULL);
}

int aws_search_ask(const struct aws_search *search, struct http_request *request,
                   struct http_reply **ret)
{
    request->profile = search->profile;
    request->deadline_ns = search->deadline_ns;
    for (unsigned attempt = 1;; attempt++) {
        _cleanup_http_reply_ struct http_reply *reply = NULL;
        int r = http_exchange(request, &reply, search->why, search->why_size);
        const int error = r < 0 ? r : reply->status == 200 ? 0 : aws_status_error(reply->status);

        if (!may_pass(error) || attempt == ATTEMPTS || http_is_late(search->deadline_ns)) {
            *ret = take_ptr(reply);
            return r;
        }
        pause_before(attempt, search->deadline_ns);
    }
}
