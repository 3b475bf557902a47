#include "store/s3_address.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "util/cleanup.h"

#define MAX_KEY_BYTES 1024

/* AWS's partitions that don't end in amazonaws.com, by the beginning of their regions' names. */
static const struct {
    const char *region_prefix, *suffix;
} partitions[] = {
    {"cn-", "amazonaws.com.cn"},
    {"eusc-", "amazonaws.eu"},
    {"us-iso-", "c2s.ic.gov"},
    {"us-isob-", "sc2s.sgov.gov"},
};

/* The first of several environment variables that is set and not empty. */
static const char *first_variable(const char *const *names)
{
    for (; *names; names++) {
        const char *value = getenv(*names);

        if (value && value[0] != '\0')
            return value;
    }
    return NULL;
}

static bool consists_of(const char *text, const char *also)
{
    if (*text == '\0')
        return false;
    for (; *text; text++)
        if (!isascii(*text) || (!isalnum(*text) && !strchr(also, *text)))
            return false;
    return true;
}

/* Whether "." or ".." is one of the parts between slashes: libcurl resolves those, and refuses to
 * sign a URL where it is told not to (CURLOPT_PATH_AS_IS, since 8.x). */
static bool has_dot_part(const char *key)
{
    while (*key) {
        size_t size = strcspn(key, "/");

        if ((size == 1 || size == 2) && strncmp(key, "..", size) == 0)
            return true;
        key += size;
        key += *key == '/';
    }
    return false;
}

static int resolve_bucket(const struct s3_settings *settings, struct s3_address *ret, char *why,
                          size_t why_size)
{
    const char *prefix = settings->key_prefix;
    size_t length;

    /* Old buckets have capital letters, underscores and up to 255 bytes. */
    if (!consists_of(settings->bucket, "-._") || strlen(settings->bucket) >= sizeof(ret->bucket)) {
        snprintf(why, why_size,
                 "S3_BUCKET must be a bucket's name alone, without s3:// or a path, but is '%s'",
                 settings->bucket);
        return -EINVAL;
    }
    strcpy(ret->bucket, settings->bucket);

    prefix += strspn(prefix, "/");
    length = strlen(prefix);
    while (length > 0 && prefix[length - 1] == '/')
        length--;
    if (length > MAX_KEY_BYTES) {
        snprintf(why, why_size, "S3_KEY_PREFIX is longer than the %d bytes of an S3 key",
                 MAX_KEY_BYTES);
        return -EINVAL;
    }
    memcpy(ret->prefix, prefix, length);
    ret->prefix[length] = '\0';
    if (has_dot_part(ret->prefix)) {
        snprintf(why, why_size, "S3_KEY_PREFIX must not have '.' or '..' as a part, but is '%s'",
                 ret->prefix);
        return -EINVAL;
    }
    return 0;
}

static int resolve_region(const struct s3_settings *settings, const struct aws_profile *profile,
                          bool is_aws, struct s3_address *ret, char *why, size_t why_size)
{
    static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION", NULL};
    const char *region = first_variable(variables);
    char of_profile[sizeof(ret->region)];

    if (!region &&
        (aws_profile_get(profile, AWS_FILE_CONFIG, "region", of_profile, sizeof(of_profile)) == 1 ||
         aws_profile_get(profile, AWS_FILE_CREDENTIALS, "region", of_profile, sizeof(of_profile)) ==
             1))
        region = of_profile;
    if (!region && settings->region && settings->region[0] != '\0')
        region = settings->region;
    if (!region && !is_aws)
        region = "us-east-1";
    if (!region) {
        snprintf(why, why_size, "the AWS region of bucket %s is not known: set AWS_REGION",
                 ret->bucket);
        return -EINVAL;
    }
    if (!consists_of(region, "-") || strlen(region) >= sizeof(ret->region)) {
        snprintf(why, why_size, "'%s' is no AWS region: correct AWS_REGION", region);
        return -EINVAL;
    }
    strcpy(ret->region, region);
    return 0;
}

/* Virtual-host style puts the bucket in front of the host name, where one certificate of AWS's
 * covers one DNS label. */
static bool is_dns_label(const char *bucket)
{
    for (const char *c = bucket; *c; c++)
        if (!islower(*c) && !isdigit(*c) && *c != '-')
            return false;
    return strlen(bucket) <= 63;
}

static void make_aws_base(struct s3_address *ret)
{
    const char *suffix = "amazonaws.com";

    for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++)
        if (strncmp(ret->region, partitions[i].region_prefix,
                    strlen(partitions[i].region_prefix)) == 0)
            suffix = partitions[i].suffix;

    if (is_dns_label(ret->bucket))
        snprintf(ret->base, sizeof(ret->base), "https://%s.s3.%s.%s", ret->bucket, ret->region,
                 suffix);
    else
        snprintf(ret->base, sizeof(ret->base), "https://s3.%s.%s/%s", ret->region, suffix,
                 ret->bucket);
}

static void cleanup_curl_url(CURLU **url)
{
    curl_url_cleanup(*url);
}

/* Scheme, host, port and path, of characters that leave no room for anything else: libcurl would
 * take a user's name in it for the access key. */
static bool is_endpoint(const char *text)
{
    _cleanup_(cleanup_curl_url) CURLU *url = curl_url();
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;

    return url && scheme > 0 && text[scheme] != '/' && consists_of(text, "-._~:/[]") &&
           curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK;
}

static int make_custom_base(const char *endpoint, struct s3_address *ret, char *why,
                            size_t why_size)
{
    size_t length = strlen(endpoint);
    int n;

    if (!is_endpoint(endpoint)) {
        /* Not shown: someone may have put a password into it. */
        snprintf(why, why_size,
                 "the S3 endpoint must look like https://host:port, without a user or a query: "
                 "correct AWS_ENDPOINT_URL_S3");
        return -EINVAL;
    }
    while (endpoint[length - 1] == '/')
        length--;
    n = snprintf(ret->base, sizeof(ret->base), "%.*s/%s", (int)length, endpoint, ret->bucket);
    if (n < 0 || (size_t)n >= sizeof(ret->base)) {
        snprintf(why, why_size, "the S3 endpoint is longer than %zu bytes", sizeof(ret->base) - 1);
        return -EINVAL;
    }
    return 0;
}

int s3_address_resolve(const struct s3_settings *settings, const struct aws_profile *profile,
                       struct s3_address *ret, char *why, size_t why_size)
{
    static const char *const variables[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL};
    const char *endpoint = first_variable(variables);
    int r = resolve_bucket(settings, ret, why, why_size);

    if (r < 0)
        return r;
    if (!endpoint && settings->endpoint && settings->endpoint[0] != '\0')
        endpoint = settings->endpoint;
    r = resolve_region(settings, profile, endpoint == NULL, ret, why, why_size);
    if (r < 0)
        return r;
    if (endpoint)
        return make_custom_base(endpoint, ret, why, why_size);
    make_aws_base(ret);
    return 0;
}

/* Appends @text to a buffer that is known to have room: three bytes for each of its own. */
static char *encode(char *out, const char *text, const char *also)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (isascii(c) && (isalnum(c) || strchr(also, c))) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    *out = '\0';
    return out;
}

int s3_address_url(const struct s3_address *address, const char *name, const char *query,
                   char **ret)
{
    size_t prefix_size = strlen(address->prefix), name_size = strlen(name);
    char *url, *out;

    if (prefix_size + (prefix_size > 0) + name_size > MAX_KEY_BYTES)
        return -ENAMETOOLONG;
    if (has_dot_part(name))
        return -EINVAL;
    url = malloc(strlen(address->base) + 3 * (prefix_size + name_size) +
                 (query ? strlen(query) : 0) + 4);
    if (!url)
        return -ENOMEM;
    out = stpcpy(url, address->base);
    *out++ = '/';
    if (prefix_size > 0) {
        out = encode(out, address->prefix, "-._~/");
        *out++ = '/';
    }
    out = encode(out, name, "-._~/");
    if (query) {
        *out++ = '?';
        strcpy(out, query);
    }
    *ret = url;
    return 0;
}

char *s3_encode_value(const char *value)
{
    char *encoded = malloc(3 * strlen(value) + 1);

    if (encoded)
        encode(encoded, value, "-._~");
    return encoded;
}
