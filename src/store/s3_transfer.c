#include "store/s3_transfer.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"

#define CONNECT_SECONDS 10L
#define LOW_SPEED_BYTES 1024L
#define LOW_SPEED_SECONDS 30L
#define LONG_MS 600000L
#define HASTY_MS 7000L

/* One attempt; the context of libcurl's callbacks. */
struct attempt {
    struct s3 *s3;
    const struct s3_request *request;
    uint64_t sent;
    int read_error; /* why the body can't be read, which libcurl only calls "aborted" */
    struct s3_response *response;
};

static void report_progress(struct attempt *attempt)
{
    const struct s3 *s3 = attempt->s3;
    uint64_t *reported = attempt->request->reported;

    if (!s3->on_progress || !reported || attempt->sent <= *reported)
        return;
    s3->on_progress(s3->progress_context, attempt->sent - *reported);
    *reported = attempt->sent;
}

static size_t on_read(char *buffer, size_t item, size_t n_items, void *context)
{
    struct attempt *attempt = context;
    const struct s3_body *body = &attempt->request->body;
    const uint64_t left = body->size - attempt->sent, rate = attempt->s3->upload_rate;
    size_t size = item * n_items < left ? item * n_items : (size_t)left;

    /* Else a low rate is kept by long silences, which look like a dead connection. */
    if (rate > 0 && size > rate / 4 + 1)
        size = (size_t)(rate / 4 + 1);
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
    report_progress(attempt);
    return size;
}

/* A reused connection may turn out dead; libcurl then begins again on a fresh one. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct attempt *attempt = context;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > attempt->request->body.size)
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

/* The headers of a reply that we care for. */
static const struct {
    const char *name;
    size_t offset, size;
} reply_headers[] = {
#define HEADER(name, member)                                                                       \
    {                                                                                              \
        name, offsetof(struct s3_response, member), sizeof(((struct s3_response *)0)->member)      \
    }
    HEADER("ETag", etag),
    HEADER("Date", date),
    HEADER("Location", location),
    HEADER("Content-Length", length),
    HEADER("x-amz-bucket-region", region),
    HEADER("x-amz-server-side-encryption", encryption),
    HEADER("x-amz-checksum-algorithm", checksum_algorithm),
    HEADER("x-amz-checksum-crc64nvme", checksums[S3_CRC64NVME]),
    HEADER("x-amz-checksum-crc32c", checksums[S3_CRC32C]),
    HEADER("x-amz-checksum-crc32", checksums[S3_CRC32]),
};

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
    for (size_t i = 0; i < sizeof(reply_headers) / sizeof(reply_headers[0]); i++)
        take_header(line, size, reply_headers[i].name, (char *)response + reply_headers[i].offset,
                    reply_headers[i].size);
    return size;
}

/* Called at least once a second, whatever libcurl waits for. */
static int on_wait(void *context, curl_off_t to_receive, curl_off_t received, curl_off_t to_send,
                   curl_off_t sent)
{
    struct attempt *attempt = context;

    (void)to_receive;
    (void)received;
    (void)to_send;
    (void)sent;
    return s3_ms_left(attempt->s3) == 0;
}

int64_t s3_ms_left(const struct s3 *s3)
{
    const int64_t deadline = atomic_load(&s3->deadline);
    const int64_t left = deadline - monotonic_ns();

    if (deadline == 0)
        return INT64_MAX;
    return left > 0 ? (left + 999999) / 1000000 : 0;
}

int s3_fail_deadline(struct s3 *s3)
{
    return s3_fail(s3, -ETIMEDOUT, "the deadline came before it was sent");
}

int s3_transfer_prepare(struct s3 *s3, const char *ca_bundle)
{
    const uint64_t rate = s3->upload_rate;
    CURL *curl = curl_easy_init();

    s3->curl = curl;
    if (!curl ||
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "coreinit/" COREINIT_VERSION) != CURLE_OK)
        return -ENOMEM;
    if (ca_bundle[0] != '\0' && curl_easy_setopt(curl, CURLOPT_CAINFO, ca_bundle) != CURLE_OK)
        return -ENOMEM;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);   /* not the only thread */
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* it is signed */
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* all S3 speaks */
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's reply isn't S3's */
    curl_easy_setopt(curl, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* nor ours a proxy's */
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Else a DNS server that says nothing is waited for whatever the time-out is. */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT,
                     rate > 0 && rate / 2 < LOW_SPEED_BYTES ? (long)(rate / 2) : LOW_SPEED_BYTES);
    curl_easy_setopt(curl, CURLOPT_MAX_SEND_SPEED_LARGE, rate < INT64_MAX ? (curl_off_t)rate : 0);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_wait);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    return 0;
}

static void free_list(struct curl_slist **list)
{
    for (struct curl_slist *line = *list; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(*list);
}

static int make_list(const struct s3_headers *headers, struct curl_slist **ret)
{
    for (size_t i = 0; i < headers->n; i++) {
        _cleanup_free_ char *line = NULL;
        struct curl_slist *longer;

        if (asprintf(&line, "%s: %s", headers->all[i].name, headers->all[i].value) < 0) {
            line = NULL;
            return -ENOMEM;
        }
        longer = curl_slist_append(*ret, line);
        explicit_bzero(line, strlen(line));
        if (!longer)
            return -ENOMEM;
        *ret = longer;
    }
    return 0;
}

/* No reply. */
static int judge_silence(struct s3 *s3, const struct attempt *attempt, CURLcode code,
                         const char *detail)
{
    long os_error = 0;

    if (attempt->read_error)
        return s3_fail_reading(s3, attempt->read_error);
    if (code == CURLE_WRITE_ERROR)
        return s3_fail(s3, -EPROTO, "the reply is too long; is the endpoint an S3 server?");
    if (s3_ms_left(s3) == 0)
        return s3_fail_deadline(s3);
    curl_easy_getinfo(s3->curl, CURLINFO_OS_ERRNO, &os_error);
    s3_failure_of_curl(code, detail, os_error, &s3->failure);
    return s3->failure.error;
}

static int judge_reply(struct s3 *s3, const struct s3_request *request,
                       struct s3_response *response)
{
    const bool is_good = response->status >= 200 && response->status <= 299;

    if ((!is_good || request->reply_root) &&
        s3_reply_parse(s3->reply, s3->reply_size, is_good ? request->on_part : NULL,
                       request->part_context, &response->reply) == -ENOMEM)
        return s3_fail(s3, -ENOMEM, "out of memory");
    aws_credentials_censor(&s3->credentials, response->reply.message);
    /* CompleteMultipartUpload says 200 first and may fail afterwards. */
    if (!is_good || strcmp(response->reply.root, "Error") == 0) {
        s3_failure_of_reply(response->status, &response->reply, response->region, &s3->failure);
        return s3->failure.error;
    }
    if ((request->reply_root && strcmp(response->reply.root, request->reply_root) != 0) ||
        (request->needs_etag && response->etag[0] == '\0'))
        return s3_fail(s3, -EPROTO, "the reply is not what S3 answers; is the endpoint one?");
    return 0;
}

/* Every request but HEAD is an upload, of no bytes where it has no body: libcurl then adds no
 * headers of its own choice (Content-Type), and there is one way of sending. */
static void set_method(CURL *curl, const struct s3_request *request)
{
    const bool has_no_reply = strcmp(request->method, "HEAD") == 0;

    curl_easy_setopt(curl, CURLOPT_NOBODY, has_no_reply ? 1L : 0L);
    if (!has_no_reply)
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, has_no_reply ? NULL : request->method);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body.size);
}

static void set_time(const struct s3 *s3, const struct s3_request *request)
{
    const int64_t left = s3_ms_left(s3);
    int64_t limit = s3->is_hasty ? HASTY_MS : request->takes_long ? LONG_MS : LONG_MAX;

    if (left < limit)
        limit = left;
    curl_easy_setopt(s3->curl, CURLOPT_LOW_SPEED_TIME,
                     request->takes_long ? 0L : LOW_SPEED_SECONDS);
    curl_easy_setopt(s3->curl, CURLOPT_TIMEOUT_MS, limit < LONG_MAX ? (long)limit : 0L);
}

int s3_transfer(struct s3 *s3, const struct s3_request *request, const char *url,
                const struct s3_headers *headers, struct s3_response *ret)
{
    struct attempt attempt = {.s3 = s3, .request = request, .response = ret};
    _cleanup_(free_list) struct curl_slist *list = NULL;
    char detail[CURL_ERROR_SIZE] = "";
    CURL *curl = s3->curl;
    CURLcode code;

    memset(ret, 0, sizeof(*ret));
    s3->reply_size = 0;
    if (s3_ms_left(s3) == 0)
        return s3_fail_deadline(s3);
    if (make_list(headers, &list) < 0)
        return s3_fail(s3, -ENOMEM, "out of memory");
    set_method(curl, request);
    set_time(s3, request);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_READDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &attempt);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);

    code = curl_easy_perform(curl);

    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK)
        return judge_silence(s3, &attempt, code, detail);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    return judge_reply(s3, request, ret);
}
