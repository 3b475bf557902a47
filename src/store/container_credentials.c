#include "store/container_credentials.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/aws_document.h"
#include "util/cleanup.h"

#define ECS_ADDRESS "169.254.170.2"
#define EKS_ADDRESS "169.254.170.23"
#define EKS_IPV6_ADDRESS "[fd00:ec2::23]"

#define CONNECT_MS 2000
#define TIMEOUT_MS 5000

#define MAX_TOKEN_BYTES 16384

bool container_uri_is_allowed(const char *uri)
{
    char host[256];
    bool is_tls;

    return http_url_split(uri, &is_tls, host, sizeof(host)) == 0 &&
           (is_tls || http_host_is_loopback(host) || strcmp(host, ECS_ADDRESS) == 0 ||
            strcmp(host, EKS_ADDRESS) == 0 || strcmp(host, EKS_IPV6_ADDRESS) == 0);
}

/* Returns 1, 0 (neither is set), or -EINVAL. */
static int find_url(const struct aws_search *search, char *ret, size_t size, const char **ret_name)
{
    static const char prefix[] = "http://" ECS_ADDRESS;
    const size_t prefix_size = sizeof(prefix) - 1;
    int r;

    *ret_name = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    r = aws_setting(NULL, *ret_name, NULL, ret + prefix_size, size - prefix_size);
    if (r == 1) {
        memcpy(ret, prefix, prefix_size);
        if (ret[prefix_size] == '/' && container_uri_is_allowed(ret))
            return 1;
        return aws_search_fail(search, -EINVAL, "%s must be a path, /…", *ret_name);
    }
    if (r == 0) {
        *ret_name = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        r = aws_setting(NULL, *ret_name, NULL, ret, size);
        if (r == 1 && !container_uri_is_allowed(ret))
            return aws_search_fail(search, -EINVAL,
                                   "%s isn't asked for credentials: only https, a loopback "
                                   "address, " ECS_ADDRESS ", " EKS_ADDRESS " and " EKS_IPV6_ADDRESS
                                   " are",
                                   *ret_name);
    }
    return r < 0 ? aws_search_fail(search, -EINVAL, "%s is too long", *ret_name) : r;
}

/* Returns 0 with a token or "", or -EINVAL. */
static int find_token(const struct aws_search *search, char *ret, size_t ret_size)
{
    static const char file_name[] = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    static const char name[] = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    char path[PATH_MAX];
    int r = aws_setting(NULL, file_name, NULL, path, sizeof(path));
    int size;

    if (r < 0)
        return aws_search_fail(search, -EINVAL, "%s is too long", file_name);
    if (r == 0 && aws_setting(NULL, name, NULL, ret, ret_size) < 0)
        return aws_search_fail(search, -EINVAL, "%s is too long", name);
    size = r == 0 ? (int)strlen(ret) : aws_search_read_token(search, path, ret, ret_size);
    for (int i = 0; i < size; i++)
        if ((unsigned char)ret[i] < ' ' || ret[i] == 0x7f)
            return aws_search_fail(search, -EINVAL,
                                   "%s has a line break or a control character in it, which would "
                                   "begin another header",
                                   r == 0 ? name : path);
    return size < 0 ? size : 0;
}

static int ask(const struct aws_search *search, const char *url, const char *token,
               struct http_reply **ret)
{
    const struct http_header headers[] = {
        {"Accept", "application/json"}, {"Authorization", token}, {NULL, NULL}};
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .headers = headers,
                                   .connect_ms = CONNECT_MS,
                                   .timeout_ms = TIMEOUT_MS};
    char host[256];
    bool is_tls = false;

    (void)http_url_split(url, &is_tls, host, sizeof(host));
    request.is_direct = !is_tls; /* then it is of this machine */
    return aws_search_ask(search, &request, ret);
}

static int judge(const struct aws_search *search, const struct http_reply *reply, const char *name,
                 struct aws_credentials *ret)
{
    char why[512];
    int r;

    if (reply->status != 200) {
        aws_document_complaint(reply->text, reply->size, why, sizeof(why));
        r = aws_status_error(reply->status);
        return aws_search_fail(search, r == -ENOENT ? -EPROTO : r,
                               "the service that %s names gives no credentials (%ld)%s", name,
                               reply->status, why);
    }
    r = aws_document_parse(reply->text, reply->size, AWS_DOCUMENT_SERVICE, ret, why, sizeof(why));
    if (r < 0)
        return aws_search_fail(
            search, r, "the answer of the service that %s names can't be used: %s", name, why);
    snprintf(ret->place, sizeof(ret->place), "the service that %s names", name);
    return 1;
}

int container_credentials(const struct aws_search *search, struct aws_credentials *ret)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    char url[2048], token[MAX_TOKEN_BYTES + 1];
    const char *name;
    int r = find_url(search, url, sizeof(url), &name);

    if (r <= 0)
        return r;
    r = find_token(search, token, sizeof(token));
    if (r == 0)
        r = ask(search, url, token, &reply);
    explicit_bzero(token, sizeof(token));
    return r < 0 ? r : judge(search, reply, name, ret);
}
