#include "store/imds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/aws_search.h"
#include "util/cleanup.h"

#define IPV4_ENDPOINT "http://169.254.169.254"
#define IPV6_ENDPOINT "http://[fd00:ec2::254]"

/* As long as the service gives one at most; ours is used for seconds. */
#define TOKEN_TTL_SECONDS "21600"

/* On an instance it answers at once, and elsewhere nobody does. */
#define TIMEOUT_SECONDS 1
#define ATTEMPTS 2

#define LARGEST_NUMBER 60

/* Returns a small number of an environment variable or a profile's property, or the default. */
static unsigned number_setting(const struct aws_profile *profile, const char *variable,
                               const char *property, unsigned otherwise)
{
    char text[16];
    char *end;
    long value;

    if (aws_setting(profile, variable, property, text, sizeof(text)) != 1)
        return otherwise;
    value = strtol(text, &end, 10);
    return *end || value < 1 || value > LARGEST_NUMBER ? otherwise : (unsigned)value;
}

static int find_endpoint(const struct aws_profile *profile, struct imds *ret, char *why,
                         size_t why_size)
{
    char host[256], mode[16];
    bool is_tls;
    int r = aws_setting(profile, "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                        "ec2_metadata_service_endpoint", ret->endpoint, sizeof(ret->endpoint));

    if (r < 0 || (r == 1 && http_url_split(ret->endpoint, &is_tls, host, sizeof(host)) < 0)) {
        snprintf(why, why_size, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no URL");
        return -EINVAL;
    }
    if (r == 1) {
        for (size_t n = strlen(ret->endpoint); ret->endpoint[n - 1] == '/'; n--)
            ret->endpoint[n - 1] = '\0';
        return 0;
    }
    r = aws_setting(profile, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
                    "ec2_metadata_service_endpoint_mode", mode, sizeof(mode));
    if (r < 0 || (r == 1 && strcasecmp(mode, "ipv4") != 0 && strcasecmp(mode, "ipv6") != 0)) {
        snprintf(why, why_size, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE must be IPv4 or IPv6");
        return -EINVAL;
    }
    strcpy(ret->endpoint, r == 1 && strcasecmp(mode, "ipv6") == 0 ? IPV6_ENDPOINT : IPV4_ENDPOINT);
    return 0;
}

int imds_open(const struct aws_profile *profile, const _Atomic int64_t *deadline_ns,
              struct imds *ret, char *why, size_t why_size)
{
    char disabled[8];

    memset(ret, 0, sizeof(*ret));
    if (aws_setting(NULL, "AWS_EC2_METADATA_DISABLED", NULL, disabled, sizeof(disabled)) == 1 &&
        strcasecmp(disabled, "true") == 0) {
        snprintf(why, why_size, "AWS_EC2_METADATA_DISABLED is set");
        return -ENOKEY;
    }
    ret->attempts = number_setting(profile, "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
                                   "metadata_service_num_attempts", ATTEMPTS);
    ret->timeout_ms = 1000 * (int)number_setting(profile, "AWS_METADATA_SERVICE_TIMEOUT",
                                                 "metadata_service_timeout", TIMEOUT_SECONDS);
    ret->deadline_ns = deadline_ns;
    return find_endpoint(profile, ret, why, why_size);
}

/* Sends one request, again where it times out or is answered by 5xx. Returns 0 with a reply of any
 * status, or as http_exchange(). */
static int ask(const struct imds *imds, const char *method, const struct http_header *header,
               const char *path, struct http_reply **ret, char *why, size_t why_size)
{
    const struct http_header headers[] = {*header, {NULL, NULL}};
    char url[1024];
    const struct http_request request = {.method = method,
                                         .url = url,
                                         .headers = headers,
                                         .is_direct = true,
                                         .timeout_ms = imds->timeout_ms,
                                         .deadline_ns = imds->deadline_ns};
    int r;

    if (snprintf(url, sizeof(url), "%s%s", imds->endpoint, path) >= (int)sizeof(url))
        return -EPROTO;
    for (unsigned attempt = 1;; attempt++) {
        _cleanup_http_reply_ struct http_reply *reply = NULL;

        r = http_exchange(&request, &reply, why, why_size);
        if ((r == 0 ? reply->status < 500 : r != -ETIMEDOUT && r != -EIO) ||
            attempt >= imds->attempts) {
            *ret = take_ptr(reply);
            return r;
        }
    }
}

/* Why a status isn't 200. Returns its error. */
static int refuse(const struct http_reply *reply, const char *path, char *why, size_t why_size)
{
    snprintf(why, why_size, "the instance metadata service says %ld to %s%s", reply->status, path,
             reply->status == 403 ? "; is it switched off?" : "");
    return aws_status_error(reply->status);
}

/* A token goes into a header, so it must be one. */
static bool is_token(const struct http_reply *reply, size_t size)
{
    for (size_t i = 0; i < reply->size; i++)
        if (reply->text[i] <= ' ' || reply->text[i] > '~')
            return false;
    return reply->size > 0 && reply->size < size;
}

static int get_token(struct imds *imds, char *why, size_t why_size)
{
    const struct http_header ttl = {"X-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_SECONDS};
    static const char path[] = "/latest/api/token";
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    int r = ask(imds, "PUT", &ttl, path, &reply, why, why_size);
    size_t used;

    if (r == -ETIMEDOUT) {
        /* The reply's TTL is the hop limit: a container behind a bridge never sees it. */
        used = strlen(why);
        snprintf(why + used, why_size - used,
                 "; on EC2 a container needs an instance whose HttpPutResponseHopLimit is 2");
    }
    if (r < 0)
        return r;
    if (reply->status != 200)
        return refuse(reply, path, why, why_size);
    if (!is_token(reply, sizeof(imds->token))) {
        snprintf(why, why_size, "the instance metadata service gave no token");
        return -EPROTO;
    }
    memcpy(imds->token, reply->text, reply->size);
    imds->token[reply->size] = '\0';
    return 0;
}

int imds_get(struct imds *imds, const char *path, struct http_reply **ret, char *why,
             size_t why_size)
{
    for (bool is_new = !imds->token[0];; is_new = true) {
        const struct http_header token = {"X-aws-ec2-metadata-token", imds->token};
        _cleanup_http_reply_ struct http_reply *reply = NULL;
        int r = is_new ? get_token(imds, why, why_size) : 0;

        if (r == 0)
            r = ask(imds, "GET", &token, path, &reply, why, why_size);
        if (r < 0)
            return r;
        if (reply->status == 200) {
            *ret = take_ptr(reply);
            return 0;
        }
        if (reply->status != 401 || is_new)
            return refuse(reply, path, why, why_size);
    }
}

void imds_close(struct imds *imds)
{
    explicit_bzero(imds->token, sizeof(imds->token));
}

int imds_region(const struct aws_profile *profile, const _Atomic int64_t *deadline_ns, char *ret,
                size_t size, char *why, size_t why_size)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    _cleanup_(imds_close) struct imds imds;
    int r = imds_open(profile, deadline_ns, &imds, why, why_size);

    if (r == 0)
        r = imds_get(&imds, "/latest/meta-data/placement/region", &reply, why, why_size);
    if (r < 0)
        return r;
    if (!is_token(reply, size)) {
        snprintf(why, why_size, "the instance metadata service gave no region");
        return -EPROTO;
    }
    strcpy(ret, reply->text);
    return 0;
}
