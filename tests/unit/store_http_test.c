/* One HTTP exchange: its bounds, and what it refuses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "store/http.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"

#define SECOND_NS 1000000000ll

/* A server that says one thing to whoever comes, and hangs up; nothing where that is NULL. */
struct server {
    int fd;
    pthread_t thread;
    const char *answer;
    char url[64];
};

static void *serve(void *context)
{
    struct server *server = context;
    char request[4096];
    int fd;

    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        if (recv(fd, request, sizeof(request), 0) > 0)
            (void)write_text(fd, server->answer);
        close_fd(fd);
    }
    return NULL;
}

static void server_start(struct server *server, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    server->answer = answer;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->fd, 8), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d/path-secret",
             ntohs(address.sin_port));
    if (answer)
        assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    (void)shutdown(server->fd, SHUT_RDWR);
    if (server->answer)
        (void)pthread_join(server->thread, NULL);
    close_fd(server->fd);
}

static char why[512];
static long status;
static char text[64];

static int ask(const struct http_request *request)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    int r = http_exchange(request, &reply, why, sizeof(why));

    if (r == 0) {
        status = reply->status;
        snprintf(text, sizeof(text), "%.60s", reply->text);
    }
    return r;
}

static int ask_server(const char *answer)
{
    struct server server;
    struct http_request request = {
        .method = "GET", .url = server.url, .is_direct = true, .timeout_ms = 30000};
    int r;

    server_start(&server, answer);
    r = ask(&request);
    server_stop(&server);
    return r;
}

static void an_answer_of_any_status_is_given(void **state)
{
    (void)state;
    assert_int_equal(ask_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 0);
    assert_int_equal(status, 200);
    assert_string_equal(text, "ok");
    assert_int_equal(ask_server("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno"), 0);
    assert_int_equal(status, 403);
    assert_string_equal(text, "no");
}

static void a_redirect_is_an_answer_like_any_other(void **state)
{
    (void)state;
    assert_int_equal(
        ask_server(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        0);
    assert_int_equal(status, 302);
}

static void what_is_no_whole_answer_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(ask_server(""), -EIO);
    assert_int_equal(ask_server("SSH-2.0-OpenSSH_9.2\r\n"), -EPROTO);
    assert_int_equal(ask_server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"), -EIO);
    assert_null(strstr(why, "path-secret"));
}

static void a_long_answer_is_cut_off(void **state)
{
    char *answer = malloc(HTTP_MAX_REPLY_BYTES + 1024);
    const int n = sprintf(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");

    (void)state;
    memset(answer + n, 'x', HTTP_MAX_REPLY_BYTES + 1);
    answer[(size_t)n + HTTP_MAX_REPLY_BYTES] = '\0';
    assert_int_equal(ask_server(answer), 0);
    answer[(size_t)n + HTTP_MAX_REPLY_BYTES] = 'x';
    answer[(size_t)n + HTTP_MAX_REPLY_BYTES + 1] = '\0';
    assert_int_equal(ask_server(answer), -EPROTO);
    assert_non_null(strstr(why, "too long"));
    free(answer);
}

static void where_nobody_listens_is_told(void **state)
{
    const struct http_request request = {
        .method = "GET", .url = "http://127.0.0.1:1/", .is_direct = true, .timeout_ms = 30000};

    (void)state;
    assert_int_equal(ask(&request), -ECONNREFUSED);
    assert_non_null(strstr(why, "127.0.0.1 doesn't answer"));
}

static void a_header_that_would_begin_another_is_refused(void **state)
{
    const struct http_header headers[] = {{"X", "a\r\nSecret: b"}, {NULL, NULL}};
    const struct http_request request = {.method = "GET",
                                         .url = "http://127.0.0.1:1/",
                                         .headers = headers,
                                         .is_direct = true,
                                         .timeout_ms = 30000};

    (void)state;
    assert_int_equal(ask(&request), -EINVAL);
    assert_null(strstr(why, "Secret"));
}

static void *move_deadline(void *context)
{
    _Atomic int64_t *deadline = context;

    *deadline = monotonic_ns();
    return NULL;
}

static void a_deadline_that_moves_ends_what_is_under_way(void **state)
{
    _Atomic int64_t deadline = 0;
    struct server server;
    const struct http_request request = {.method = "GET",
                                         .url = server.url,
                                         .is_direct = true,
                                         .timeout_ms = 600000,
                                         .deadline_ns = &deadline};
    pthread_t thread;

    (void)state;
    server_start(&server, NULL);
    assert_int_equal(pthread_create(&thread, NULL, move_deadline, &deadline), 0);
    assert_int_equal(ask(&request), -ETIMEDOUT);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(http_is_late(&deadline));
    assert_int_equal(ask(&request), -ETIMEDOUT);
    deadline = monotonic_ns() + SECOND_NS / 10;
    assert_int_equal(ask(&request), -ETIMEDOUT);
    server_stop(&server);
}

static void a_urls_host_is_the_one_that_is_asked(void **state)
{
    static const struct {
        const char *url, *host; /* NULL: refused */
        bool is_tls, is_loopback;
    } urls[] = {
        {"http://Example.COM/x", "example.com", false, false},
        {"https://example.com:8443", "example.com", true, false},
        {"http://127.0.0.1:80/", "127.0.0.1", false, true},
        {"http://127.1/", "127.0.0.1", false, true},
        {"http://[::1]:80/", "[::1]", false, true},
        {"http://localhost", "localhost", false, true},
        {"http://128.0.0.1/", "128.0.0.1", false, false},
        {"http://user@example.com/", NULL, false, false},
        {"http://example.com/#x", NULL, false, false},
        {"gopher://example.com/", NULL, false, false},
        {"", NULL, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        char host[64] = "";
        bool is_tls = false;

        assert_int_equal(http_url_split(urls[i].url, &is_tls, host, sizeof(host)),
                         urls[i].host ? 0 : -EINVAL);
        if (!urls[i].host)
            continue;
        assert_string_equal(host, urls[i].host);
        assert_int_equal(is_tls, urls[i].is_tls);
        assert_int_equal(http_host_is_loopback(host), urls[i].is_loopback);
    }
}

static int start_curl(void **state)
{
    (void)state;
    return curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK;
}

static int end_curl(void **state)
{
    (void)state;
    curl_global_cleanup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_of_any_status_is_given),
        cmocka_unit_test(a_redirect_is_an_answer_like_any_other),
        cmocka_unit_test(what_is_no_whole_answer_is_an_error),
        cmocka_unit_test(a_long_answer_is_cut_off),
        cmocka_unit_test(where_nobody_listens_is_told),
        cmocka_unit_test(a_header_that_would_begin_another_is_refused),
        cmocka_unit_test(a_deadline_that_moves_ends_what_is_under_way),
        cmocka_unit_test(a_urls_host_is_the_one_that_is_asked),
    };

    return cmocka_run_group_tests(tests, start_curl, end_curl);
}
