#include "store/sts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/sts_endpoint.h"
#include "store/sts_reply.h"
#include "util/cleanup.h"

#define TIMEOUT_MS 20000
#define CONNECT_MS 10000

/* A JSON Web Token with many claims; STS takes at most 20,000 characters. */
#define MAX_TOKEN_BYTES 20000

#define FORM_TYPE "application/x-www-form-urlencoded"

/* Refusals that come with status 400 and mean something else than that no try can help. */
static const struct {
    const char *code;
    int error;
} codes[] = {
    {"AccessDenied", -EACCES},
    {"ExpiredToken", -EACCES},
    {"ExpiredTokenException", -EACCES},
    {"IDPCommunicationError", -EAGAIN},
    {"IDPRejectedClaim", -EACCES},
    {"InvalidClientTokenId", -EACCES},
    {"InvalidIdentityToken", -EACCES},
    {"SignatureDoesNotMatch", -EACCES},
    {"Throttling", -EAGAIN},
    {"ThrottlingException", -EAGAIN},
};

/* A form in the making. */
struct form {
    char text[3 * MAX_TOKEN_BYTES + 16384];
    size_t used;
    bool is_full;
};

static void add_bytes(struct form *form, const char *bytes, size_t size)
{
    if (size >= sizeof(form->text) - form->used) {
        form->is_full = true;
        return;
    }
    memcpy(form->text + form->used, bytes, size);
    form->used += size;
    form->text[form->used] = '\0';
}

static void add_encoded(struct form *form, const char *value)
{
    for (; *value; value++) {
        const unsigned char c = (unsigned char)*value;
        char escaped[4];

        if (isascii(c) && (isalnum(c) || strchr("-._~", c))) {
            add_bytes(form, value, 1);
        } else {
            snprintf(escaped, sizeof(escaped), "%%%02X", c);
            add_bytes(form, escaped, 3);
        }
    }
}

/* @name with its '&' and '='. */
static void add_field(struct form *form, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    add_bytes(form, name, strlen(name));
    add_encoded(form, value);
}

static void add_role(struct form *form, const struct sts_role *role)
{
    char session[64];

    snprintf(session, sizeof(session), "coreinit-%lld", (long long)time(NULL));
    add_field(form, "&RoleArn=", role->arn);
    add_field(form, "&RoleSessionName=",
              role->session_name && role->session_name[0] ? role->session_name : session);
    add_field(form, "&ExternalId=", role->external_id);
    add_field(form, "&DurationSeconds=", role->duration_seconds);
}

static int refuse(const struct aws_search *search, const struct sts_role *role, long status,
                  const struct sts_reply *reply)
{
    int error = aws_status_error(status);

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(reply->code, codes[i].code) == 0)
            error = codes[i].error;
    return aws_search_fail(search, error == -ENOENT ? -EPROTO : error,
                           "STS doesn't give the role %s: %s (%ld): %s", role->arn, reply->code,
                           status, reply->message);
}

static void cleanup_sts_reply(struct sts_reply *reply)
{
    explicit_bzero(reply, sizeof(*reply));
}

static int judge(const struct aws_search *search, const struct aws_credentials *by,
                 const struct sts_role *role, const struct http_reply *answer,
                 struct aws_credentials *ret)
{
    _cleanup_(cleanup_sts_reply) struct sts_reply reply;
    int r = sts_reply_parse(answer->text, answer->size, &reply);

    if (r == -ENOMEM)
        return aws_search_fail(search, r, "out of memory");
    if (by)
        aws_credentials_censor(by, reply.message);
    if (r == 0 && reply.code[0])
        return refuse(search, role, answer->status, &reply);
    if (r == 0 && answer->status == 200) {
        *ret = reply.credentials;
        return 0;
    }
    r = answer->status == 200 ? -EPROTO : aws_status_error(answer->status);
    return aws_search_fail(search, r == -ENOENT ? -EPROTO : r,
                           "STS's reply (%ld) on the role %s is not understood; is the endpoint "
                           "STS?",
                           answer->status, role->arn);
}

/* @by  NULL: not signed, since the token in the form is what counts */
static int ask(const struct aws_search *search, const struct aws_credentials *by,
               const struct form *form, const struct sts_role *role, struct aws_credentials *ret)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    struct sts_endpoint endpoint;
    char sign_as[96];
    const struct http_header headers[] = {
        {"Content-Type", FORM_TYPE},
        {"x-amz-security-token", by ? by->session_token : NULL},
        {NULL, NULL},
    };
    struct http_request request = {.method = "POST",
                                   .url = endpoint.url,
                                   .headers = headers,
                                   .body = form->text,
                                   .timeout_ms = TIMEOUT_MS,
                                   .connect_ms = CONNECT_MS};
    int r;

    if (form->is_full)
        return aws_search_fail(search, -EINVAL, "the request for the role %s would be too long",
                               role->arn);
    r = sts_endpoint_find(search, &endpoint);
    if (r < 0)
        return r;
    if (by) {
        snprintf(sign_as, sizeof(sign_as), "aws:amz:%s:sts", endpoint.region);
        request.sign_as = sign_as;
        request.access_key_id = by->access_key_id;
        request.secret_access_key = by->secret_access_key;
    }
    r = aws_search_ask(search, &request, &reply);
    return r < 0 ? r : judge(search, by, role, reply, ret);
}

int sts_assume_role(const struct aws_search *search, const struct aws_credentials *by,
                    const struct sts_role *role, struct aws_credentials *ret)
{
    struct form form = {.text = ""};

    add_field(&form, "Version=", "2011-06-15");
    add_field(&form, "&Action=", "AssumeRole");
    add_role(&form, role);
    return ask(search, by, &form, role, ret);
}

static void cleanup_form(struct form *form)
{
    explicit_bzero(form->text, form->used);
}

int sts_assume_role_with_web_identity(const struct aws_search *search, const char *token_file,
                                      const struct sts_role *role, struct aws_credentials *ret)
{
    _cleanup_(cleanup_form) struct form form = {.text = ""};
    char token[MAX_TOKEN_BYTES + 1];
    int size = aws_search_read_token(search, token_file, token, sizeof(token));

    if (size < 0)
        return size;
    while (size > 0 && strchr(" \t\r\n", token[size - 1]))
        token[--size] = '\0';
    add_field(&form, "Version=", "2011-06-15");
    add_field(&form, "&Action=", "AssumeRoleWithWebIdentity");
    add_role(&form, role);
    add_field(&form, "&WebIdentityToken=", token);
    explicit_bzero(token, sizeof(token));
    return ask(search, NULL, &form, role, ret);
}
