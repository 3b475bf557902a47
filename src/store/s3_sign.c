#include "store/s3_sign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "util/cleanup.h"
#include "util/digest.h"
#include "util/hex.h"

#define STAMP_BYTES sizeof("20130524T000000Z")
#define DAY_BYTES (sizeof("20130524") - 1)
#define SERVICE "s3"

/* "HOST", "/PATH" and "QUERY" of a URL. */
struct url_parts {
    const char *host, *path, *query;
    int host_size, path_size;
};

static int split_url(const char *url, struct url_parts *ret)
{
    const char *scheme_end = strstr(url, "://");

    if (!scheme_end)
        return -EINVAL;
    ret->host = scheme_end + 3;
    ret->host_size = (int)strcspn(ret->host, "/");
    ret->path = ret->host + ret->host_size;
    ret->path_size = (int)strcspn(ret->path, "?");
    ret->query = ret->path + ret->path_size;
    ret->query += *ret->query == '?';
    return ret->path_size > 0 ? 0 : -EINVAL;
}

/* The headers' names with a semicolon between them. */
static void write_names(FILE *out, const struct s3_headers *headers)
{
    for (size_t i = 0; i < headers->n; i++)
        fprintf(out, "%s%s", i > 0 ? ";" : "", headers->all[i].name);
}

/* Hash of the "canonical request", in hex. */
static int hash_request(const struct s3_signed_request *request, const struct url_parts *url,
                        const struct s3_headers *headers, char ret[2 * SHA256_BYTES + 1])
{
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    int r;

    if (!out)
        return -ENOMEM;
    fprintf(out, "%s\n%.*s\n%s\n", request->method, url->path_size, url->path, url->query);
    for (size_t i = 0; i < headers->n; i++)
        fprintf(out, "%s:%s\n", headers->all[i].name, headers->all[i].value);
    fputc('\n', out);
    write_names(out, headers);
    fprintf(out, "\n%s", request->sha256);
    if (fclose(out) != 0)
        return -ENOMEM;
    r = sha256_hex(text, size, ret);
    explicit_bzero(text, size); /* the session token is in it */
    return r;
}

static int hmac(const uint8_t *key, size_t key_size, const char *text, uint8_t ret[SHA256_BYTES])
{
    return HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), ret,
                NULL)
               ? 0
               : -EIO;
}

/* "AWS4" and the secret, the day, the region, the service, what it is for, and the text: each one
 * is the key of the next one's HMAC. */
static int sign_text(const char *secret, const char *day, const char *region, const char *text,
                     char ret[2 * SHA256_BYTES + 1])
{
    const char *const steps[] = {day, region, SERVICE, "aws4_request", text};
    char first[sizeof("AWS4") + sizeof(((struct aws_credentials *)0)->secret_access_key)];
    uint8_t key[SHA256_BYTES], next[SHA256_BYTES];
    int r;

    snprintf(first, sizeof(first), "AWS4%s", secret);
    r = hmac((const uint8_t *)first, strlen(first), steps[0], key);
    for (size_t i = 1; r == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
        r = hmac(key, sizeof(key), steps[i], next);
        memcpy(key, next, sizeof(key));
    }
    hex_encode(key, sizeof(key), ret);
    explicit_bzero(first, sizeof(first));
    explicit_bzero(key, sizeof(key));
    explicit_bzero(next, sizeof(next));
    return r;
}

/* The headers that every request has. */
static int add_own(const struct s3_signed_request *request, const struct url_parts *url,
                   const struct aws_credentials *credentials, const char *stamp,
                   struct s3_headers *headers)
{
    _cleanup_free_ char *host = strndup(url->host, (size_t)url->host_size);
    int r = host ? s3_headers_add(headers, "host", host) : -ENOMEM;

    if (r == 0)
        r = s3_headers_add(headers, "x-amz-content-sha256", request->sha256);
    if (r == 0)
        r = s3_headers_add(headers, "x-amz-date", stamp);
    if (r == 0)
        r = s3_headers_add(headers, "x-amz-security-token", credentials->session_token);
    return r;
}

static int add_authorization(const struct aws_credentials *credentials, const char *scope,
                             const char *signature, struct s3_headers *headers)
{
    _cleanup_free_ char *value = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&value, &size);

    if (!out)
        return -ENOMEM;
    fprintf(out, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", credentials->access_key_id,
            scope);
    write_names(out, headers);
    fprintf(out, ", Signature=%s", signature);
    if (fclose(out) != 0)
        return -ENOMEM;
    return s3_headers_add(headers, "authorization", value);
}

int s3_sign(const struct s3_signed_request *request, const struct aws_credentials *credentials,
            struct s3_headers *headers)
{
    char stamp[STAMP_BYTES], scope[160], text[512];
    char hash[2 * SHA256_BYTES + 1], signature[2 * SHA256_BYTES + 1];
    char day[DAY_BYTES + 1] = "";
    struct url_parts url;
    struct tm tm;
    int r = split_url(request->url, &url);

    if (r < 0)
        return r;
    if (!gmtime_r(&request->now, &tm) ||
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm) != sizeof(stamp) - 1)
        return -EINVAL;
    memcpy(day, stamp, DAY_BYTES);
    snprintf(scope, sizeof(scope), "%s/%s/" SERVICE "/aws4_request", day, request->region);

    r = add_own(request, &url, credentials, stamp, headers);
    if (r == 0)
        r = hash_request(request, &url, headers, hash);
    if (r < 0)
        return r;
    snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, scope, hash);
    r = sign_text(credentials->secret_access_key, day, request->region, text, signature);
    return r < 0 ? r : add_authorization(credentials, scope, signature, headers);
}
