#include "store/instance_credentials.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/aws_document.h"
#include "store/imds.h"
#include "util/cleanup.h"

#define FOLDER "/latest/meta-data/iam/security-credentials/"

/* An IAM role's name (IAM API Reference, CreateRole), in the reply's first line. */
static int take_role(const struct http_reply *reply, char *ret, size_t size)
{
    const size_t length = strspn(reply->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789+=,.@_-");

    if (length == 0 || length >= size || !strchr("\r\n", reply->text[length]))
        return -EPROTO;
    memcpy(ret, reply->text, length);
    ret[length] = '\0';
    return 0;
}

static int get_role(const struct aws_search *search, struct imds *imds, char *ret, size_t size)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    int r = imds_get(imds, FOLDER, &reply, search->why, search->why_size);

    if (r == -ENOENT)
        return aws_search_fail(search, r, "the EC2 instance has no role");
    if (r < 0)
        return r;
    if (take_role(reply, ret, size) < 0)
        return aws_search_fail(search, -EPROTO,
                               "the instance metadata service names no role that could be one");
    return 0;
}

static int get_key(const struct aws_search *search, struct imds *imds, const char *role,
                   struct aws_credentials *ret)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    char path[sizeof(FOLDER) + 128], why[512];
    int r;

    snprintf(path, sizeof(path), FOLDER "%s", role);
    r = imds_get(imds, path, &reply, search->why, search->why_size);
    if (r < 0)
        return r == -ENOENT ? -EPROTO : r;
    r = aws_document_parse(reply->text, reply->size, AWS_DOCUMENT_SERVICE, ret, why, sizeof(why));
    if (r < 0)
        return aws_search_fail(search, r,
                               "the instance metadata service's answer for the role %s can't be "
                               "used: %s",
                               role, why);
    snprintf(ret->place, sizeof(ret->place), "role %s of the EC2 instance", role);
    return 1;
}

/* Most machines are no EC2 instances, and only that nobody answers tells. */
static bool means_none(int error)
{
    return error == -ENOKEY || error == -ENOENT || error == -EACCES || error == -ETIMEDOUT ||
           error == -ECONNREFUSED || error == -EHOSTUNREACH || error == -EIO;
}

int instance_credentials(const struct aws_search *search, struct aws_credentials *ret)
{
    _cleanup_(imds_close) struct imds imds;
    char role[128];
    int r = imds_open(search->profile, search->deadline_ns, &imds, search->why, search->why_size);

    if (r == 0)
        r = get_role(search, &imds, role, sizeof(role));
    if (r == 0)
        return get_key(search, &imds, role, ret);
    return means_none(r) ? 0 : r;
}
