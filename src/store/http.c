#include "store/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "store/ca_bundle.h"
#include "util/child.h"
#include "util/cleanup.h"

static void cleanup_url(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void cleanup_part(char **part)
{
    curl_free(*part);
}

static bool has_part(CURLU *url, CURLUPart which)
{
    _cleanup_(cleanup_part) char *part = NULL;

    return curl_url_get(url, which, &part, 0) == CURLUE_OK;
}

int http_url_split(const char *text, bool *ret_is_tls, char *ret_host, size_t host_size)
{
    _cleanup_(cleanup_url) CURLU *url = curl_url();
    _cleanup_(cleanup_part) char *scheme = NULL, *host = NULL;

    if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
        has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD) ||
        has_part(url, CURLUPART_FRAGMENT) ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK || strlen(host) >= host_size ||
        has_part(url, CURLUPART_ZONEID))
        return -EINVAL;
    *ret_is_tls = strcmp(scheme, "https") == 0;
    if (!*ret_is_tls && strcmp(scheme, "http") != 0)
        return -EINVAL;
    for (size_t i = 0; i <= strlen(host); i++)
        ret_host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + ('a' - 'A') : host[i]);
    return 0;
}

bool http_host_is_loopback(const char *host)
{
    struct in_addr address;

    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

static void free_headers(struct curl_slist **headers)
{
    for (struct curl_slist *header = *headers; header; header = header->next)
        explicit_bzero(header->data, strlen(header->data));
    curl_slist_free_all(*headers);
}

static bool is_header_value(const char *value)
{
    for (; *value; value++)
        if ((unsigned char)*value < ' ' || *value == 0x7f)
            return false;
    return true;
}

static int add_header(struct curl_slist **headers, const struct http_header *header)
{
    char *line;
    struct curl_slist *longer;

    if (!is_header_value(header->value))
        return -EINVAL;
    if (asprintf(&line, "%s: %s", header->name, header->value) < 0)
        return -ENOMEM;
    longer = curl_slist_append(*headers, line);
    explicit_bzero(line, strlen(line));
    free(line);
    if (!longer)
        return -ENOMEM;
    *headers = longer;
    return 0;
}

static size_t on_reply(char *data, size_t item, size_t n_items, void *context)
{
    struct http_reply *reply = context;
    const size_t size = item * n_items;

    if (size > HTTP_MAX_REPLY_BYTES - reply->size)
        return 0; /* CURLE_WRITE_ERROR */
    memcpy(reply->text + reply->size, data, size);
    reply->size += size;
    return size;
}

bool http_is_late(const _Atomic int64_t *deadline_ns)
{
    const int64_t at = deadline_ns ? atomic_load(deadline_ns) : 0;

    return at != 0 && monotonic_ns() >= at;
}

/* The milliseconds that an exchange may take; 0 where there is no time left. */
static long time_left_ms(const struct http_request *request)
{
    const int64_t at = request->deadline_ns ? atomic_load(request->deadline_ns) : 0;
    const int64_t left = (at - monotonic_ns()) / 1000000;

    if (at == 0 || left >= request->timeout_ms)
        return request->timeout_ms;
    return left > 0 ? (long)left : 0;
}

/* Called about once a second, and whenever something moves. */
static int on_progress(void *context, curl_off_t to_get, curl_off_t got, curl_off_t to_send,
                       curl_off_t sent)
{
    const struct http_request *request = context;

    (void)to_get;
    (void)got;
    (void)to_send;
    (void)sent;
    return http_is_late(request->deadline_ns);
}

static CURLcode set_up(CURL *curl, const struct http_request *request, long timeout_ms)
{
    char ca_bundle[PATH_MAX];
    CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, request->url);

    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_USERAGENT, "coreinit/" COREINIT_VERSION);
    if (code == CURLE_OK && ca_bundle_find(request->profile, ca_bundle, sizeof(ca_bundle)) == 1)
        code = curl_easy_setopt(curl, CURLOPT_CAINFO, ca_bundle);
    if (code == CURLE_OK && request->is_direct)
        code = curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (code == CURLE_OK && request->body)
        code = curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    if (code == CURLE_OK && request->sign_as) {
        code = curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, request->sign_as);
        if (code == CURLE_OK)
            code = curl_easy_setopt(curl, CURLOPT_USERNAME, request->access_key_id);
        if (code == CURLE_OK)
            code = curl_easy_setopt(curl, CURLOPT_PASSWORD, request->secret_access_key);
    }
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); /* not the only thread */
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     request->connect_ms ? (long)request->connect_ms : timeout_ms);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Else a DNS server that says nothing is waited for whatever the time-out is. */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request);
    return code;
}

static int error_of(CURL *curl, CURLcode code)
{
    long os_error = 0;

    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_ABORTED_BY_CALLBACK:
        return -ETIMEDOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
        return os_error == ECONNREFUSED ? -ECONNREFUSED : -EHOSTUNREACH;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return -EIO;
    default: /* TLS in all its ways, what is no HTTP, what is too long */
        return -EPROTO;
    }
}

/* What went wrong in words, without the URL's path and query: they may be secrets themselves. */
static int explain(CURL *curl, CURLcode code, const char *detail,
                   const struct http_request *request, char *why, size_t why_size)
{
    char host[256] = "?";
    bool is_tls = false;

    (void)http_url_split(request->url, &is_tls, host, sizeof(host));
    if (strchr(detail, '@')) /* libcurl quotes a proxy's URL that it can't use, password included */
        detail = "";
    snprintf(why, why_size, "%s doesn't answer: %s", host,
             code == CURLE_WRITE_ERROR           ? "its reply is too long"
             : code == CURLE_ABORTED_BY_CALLBACK ? "there is no time left"
             : detail[0]                         ? detail
                                                 : curl_easy_strerror(code));
    return error_of(curl, code);
}

static void cleanup_curl(CURL **curl)
{
    curl_easy_cleanup(*curl);
}

int http_exchange(const struct http_request *request, struct http_reply **ret, char *why,
                  size_t why_size)
{
    _cleanup_(free_headers) struct curl_slist *headers = NULL;
    _cleanup_http_reply_ struct http_reply *reply = calloc(1, sizeof(*reply));
    _cleanup_(cleanup_curl) CURL *curl = curl_easy_init();
    const long timeout_ms = time_left_ms(request);
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code;

    snprintf(why, why_size, "out of memory");
    if (!reply || !curl)
        return -ENOMEM;
    for (const struct http_header *header = request->headers; header && header->name; header++) {
        int r = header->value && header->value[0] ? add_header(&headers, header) : 0;

        if (r < 0) {
            snprintf(why, why_size, "the value for the header %s has a line break in it",
                     header->name);
            return r;
        }
    }
    code = timeout_ms > 0 ? set_up(curl, request, timeout_ms) : CURLE_ABORTED_BY_CALLBACK;
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        return explain(curl, code, detail, request, why, why_size);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    why[0] = '\0';
    *ret = take_ptr(reply);
    return 0;
}

void http_reply_free(struct http_reply *reply)
{
    if (!reply)
        return;
    explicit_bzero(reply->text, reply->size);
    free(reply);
}
