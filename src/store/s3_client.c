#include "store/s3_client.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "store/ca_bundle.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"
#include "util/log.h"

#define MAX_ATTEMPTS 3
#define FIRST_PAUSE_MS 1000

#define CONNECT_SECONDS 10L
#define LOW_SPEED_BYTES 1024L
#define LOW_SPEED_SECONDS 30L
#define LONG_SECONDS 600L
#define HASTY_SECONDS 7L

/* One attempt; the context of libcurl's callbacks. */
struct attempt {
    struct s3 *s3;
    const struct s3_body *body;
    uint64_t sent;
    int read_error; /* why the body can't be read, which libcurl only calls "aborted" */
    struct s3_response *response;
};

static size_t on_read(char *buffer, size_t item, size_t n_items, void *context)
{
    struct attempt *attempt = context;
    const struct s3_body *body = attempt->body;
    uint64_t left = body->size - attempt->sent;
    size_t size = item * n_items < left ? item * n_items : (size_t)left;

    if (body->data) {
        memcpy(buffer, (const char *)body->data + attempt->sent, size);
    } else {
        ssize_t n = pread_full(body->fd, buffer, size, body->offset + attempt->sent);

        if (n < 0 || (size_t)n < size) {
            attempt->read_error = n < 0 ? (int)n : -ENODATA;
            return CURL_READFUNC_ABORT;
        }
    }
    attempt->sent += size;
    return size;
}

/* A reused connection may turn out dead; libcurl then begins again on a fresh one. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct attempt *attempt = context;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > attempt->body->size)
        return CURL_SEEKFUNC_FAIL;
    attempt->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_reply(char *data, size_t item, size_t n_items, void *context)
{
    struct attempt *attempt = context;
    struct s3 *s3 = attempt->s3;
    size_t size = item * n_items;

    if (size > sizeof(s3->reply) - s3->reply_size)
        return 0; /* CURLE_WRITE_ERROR */
    memcpy(s3->reply + s3->reply_size, data, size);
    s3->reply_size += size;
    return size;
}

/* Takes the value of a header if the line is that header and the value fits and is clean. */
static void take_header(const char *line, size_t size, const char *name, char *ret, size_t ret_size)
{
    size_t name_size = strlen(name);
    size_t used = 0;

    if (size <= name_size || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0)
        return;
    line += name_size + 1;
    size -= name_size + 1;
    while (size > 0 && strchr(" \t\r\n", line[size - 1]))
        size--;
    for (; size > 0 && (*line == ' ' || *line == '\t'); size--)
        line++;
    if (size >= ret_size)
        return;
    for (; used < size && line[used] >= ' ' && line[used] <= '~'; used++)
        ret[used] = line[used];
    ret[used == size ? used : 0] = '\0';
}

static size_t on_header(char *line, size_t item, size_t n_items, void *context)
{
    struct attempt *attempt = context;
    struct s3_response *response = attempt->response;
    size_t size = item * n_items;

    /* A new status line: what came before was an interim reply (100 Continue). */
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0)
        memset(response, 0, sizeof(*response));
    take_header(line, size, "ETag", response->etag, sizeof(response->etag));
    take_header(line, size, "x-amz-bucket-region", response->region, sizeof(response->region));
    take_header(line, size, "Date", response->date, sizeof(response->date));
    return size;
}

int s3_prepare(struct s3 *s3)
{
    char signature[128], ca_bundle[PATH_MAX];
    CURL *curl = curl_easy_init();

    if (!curl)
        return -ENOMEM;
    s3->curl = curl;
    snprintf(s3->destination, sizeof(s3->destination), "s3://%s%s%s", s3->address.bucket,
             s3->address.prefix[0] != '\0' ? "/" : "", s3->address.prefix);

    snprintf(signature, sizeof(signature), "aws:amz:%s:s3", s3->address.region);
    if (curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, signature) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_USERNAME, s3->credentials.access_key_id) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_PASSWORD, s3->credentials.secret_access_key) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "coreinit/" COREINIT_VERSION) != CURLE_OK)
        return -ENOMEM;
    if (ca_bundle_find(ca_bundle, sizeof(ca_bundle)) == 1 &&
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_bundle) != CURLE_OK)
        return -ENOMEM;

    /* Every request is an upload, of no bytes where it has no body: libcurl then adds no headers of
     * its own choice (Content-Type), and there is one way of sending. */
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* all S3 speaks */
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's reply isn't S3's */
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Else a DNS server that says nothing is waited for whatever the time-out is. */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, s3->is_hasty ? 1L : 0L);
#endif
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    return 0;
}

static void free_headers(struct curl_slist **headers)
{
    for (struct curl_slist *header = *headers; header; header = header->next)
        explicit_bzero(header->data, strlen(header->data));
    curl_slist_free_all(*headers);
}
#define _cleanup_headers_ _cleanup_(free_headers)

static int add_header(struct curl_slist **headers, const char *name, const char *value)
{
    _cleanup_free_ char *line = NULL;
    struct curl_slist *longer;

    if (asprintf(&line, "%s: %s", name, value) < 0) {
        line = NULL;
        return -ENOMEM;
    }
    longer = curl_slist_append(*headers, line);
    explicit_bzero(line, strlen(line));
    if (!longer)
        return -ENOMEM;
    *headers = longer;
    return 0;
}

/*
 * libcurl signs the headers that it is given here, and those alone. All have a value without blanks
 * around it and none is there only to be suppressed ("Expect:"): libcurl 7 signs such a one though
 * it doesn't send it.
 */
static int make_headers(const struct s3 *s3, const struct s3_request *request,
                        struct curl_slist **ret)
{
    const struct s3_body *body = &request->body;
    char hash[2 * SHA256_BYTES + 1];
    int r;

    if (body->data || body->size == 0)
        r = sha256_hex(body->data ? body->data : "", (size_t)body->size, hash);
    else
        r = sha256_hex_range(body->fd, body->offset, body->size, hash);
    if (r == 0)
        r = add_header(ret, "x-amz-content-sha256", hash);
    if (r == 0 && request->content_type)
        r = add_header(ret, "Content-Type", request->content_type);
    if (r == 0 && s3->credentials.session_token[0] != '\0')
        r = add_header(ret, "x-amz-security-token", s3->credentials.session_token);
    return r;
}

static int fail_reading(struct s3 *s3, int error)
{
    return s3_fail(s3, error,
                   error == -ENODATA ? "the file became shorter while it was sent"
                                     : strerrordesc_np(-error));
}

/* Sorts out what came back. Returns 0 or -errno with s3->failure filled in. */
static int judge(struct s3 *s3, const struct s3_request *request, const struct attempt *attempt,
                 CURLcode code, const char *detail)
{
    struct s3_response *response = attempt->response;
    long status = 0, os_error = 0;

    if (attempt->read_error)
        return fail_reading(s3, attempt->read_error);
    if (code == CURLE_WRITE_ERROR)
        return s3_fail(s3, -EPROTO, "the reply is too long; is the endpoint an S3 server?");
    if (code != CURLE_OK) {
        curl_easy_getinfo(s3->curl, CURLINFO_OS_ERRNO, &os_error);
        s3_failure_of_curl(code, detail, os_error, &s3->failure);
        return s3->failure.error;
    }

    curl_easy_getinfo(s3->curl, CURLINFO_RESPONSE_CODE, &status);
    if ((status < 200 || status > 299 || request->reply_root) &&
        s3_reply_parse(s3->reply, s3->reply_size, &response->reply) == -ENOMEM)
        return s3_fail(s3, -ENOMEM, "out of memory");
    /* CompleteMultipartUpload says 200 first and may fail afterwards. */
    if (status < 200 || status > 299 || strcmp(response->reply.root, "Error") == 0) {
        s3_failure_of_reply(status, &response->reply, response->region, &s3->failure);
        return s3->failure.error;
    }
    if ((request->reply_root && strcmp(response->reply.root, request->reply_root) != 0) ||
        (request->needs_etag && response->etag[0] == '\0'))
        return s3_fail(s3, -EPROTO, "the reply is not what S3 answers; is the endpoint one?");
    return 0;
}

static int try_once(struct s3 *s3, const struct s3_request *request, const char *url,
                    struct curl_slist *headers, struct s3_response *ret)
{
    struct attempt attempt = {.s3 = s3, .body = &request->body, .response = ret};
    char detail[CURL_ERROR_SIZE] = "";
    CURL *curl = s3->curl;
    CURLcode code;

    memset(ret, 0, sizeof(*ret));
    s3->reply_size = 0;
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body.size);
    curl_easy_setopt(curl, CURLOPT_READDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, request->takes_long ? 0L : LOW_SPEED_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT,
                     s3->is_hasty          ? HASTY_SECONDS
                     : request->takes_long ? LONG_SECONDS
                                           : 0L);

    code = curl_easy_perform(curl);

    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    return judge(s3, request, &attempt, code, detail);
}

/* Full jitter: many containers that crash together must not come back together. */
static unsigned pause_ms(unsigned attempt)
{
    unsigned limit = FIRST_PAUSE_MS << (attempt - 1);
    uint32_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return limit;
    return random % (limit + 1);
}

static void sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret)
{
    _cleanup_headers_ struct curl_slist *headers = NULL;
    _cleanup_free_ char *url = NULL;
    int r = s3_address_url(&s3->address, request->name, request->query, &url);

    if (r == -ENAMETOOLONG)
        return s3_fail(s3, r, "the key is longer than S3's 1024 bytes; shorten S3_KEY_PREFIX");
    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));
    r = make_headers(s3, request, &headers);
    if (r < 0)
        return fail_reading(s3, r);

    for (unsigned attempt = 1;; attempt++) {
        unsigned pause = pause_ms(attempt);

        r = try_once(s3, request, url, headers, ret);
        if (r == 0 || !s3->failure.transient || attempt == MAX_ATTEMPTS || s3->is_hasty)
            return r;
        log_info("sending %s failed, trying again in %u ms (%u of %u): %s", request->name, pause,
                 attempt, MAX_ATTEMPTS - 1, s3->failure.words);
        sleep_ms(pause);
    }
}

int s3_fail(struct s3 *s3, int error, const char *words)
{
    s3_failure_of(error, &s3->failure, "%s", words);
    return error;
}

int s3_report(const struct s3 *s3, const char *name)
{
    log_error("cannot send %s to %s: %s", name, s3->destination, s3->failure.words);
    return s3->failure.error;
}
