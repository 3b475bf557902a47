#include "store/s3_address.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/aws_partition.h"
#include "store/http.h"
#include "store/imds.h"

#define MAX_KEY_BYTES 1024

/* Where a setting is looked for, in the SDKs' order. */
struct place {
    const char *variables[2]; /* the second one may be NULL */
    const char *property;     /* of the profile */
};

static const struct place region_place = {{"AWS_REGION", "AWS_DEFAULT_REGION"}, "region"};
static const struct place endpoint_place = {{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"},
                                            "endpoint_url"};
static const struct place ignore_place = {{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"},
                                          "ignore_configured_endpoint_urls"};
static const struct place fips_place = {{"AWS_USE_FIPS_ENDPOINT"}, "use_fips_endpoint"};
static const struct place dualstack_place = {{"AWS_USE_DUALSTACK_ENDPOINT"},
                                             "use_dualstack_endpoint"};

/* Returns whether it was found; what doesn't fit is cut, and is malformed then. */
static bool look(const struct place *place, const struct aws_profile *profile, char *ret,
                 size_t size)
{
    for (size_t i = 0; i < 2 && place->variables[i]; i++) {
        const char *value = getenv(place->variables[i]);

        if (value && value[0] != '\0') {
            snprintf(ret, size, "%s", value);
            return true;
        }
    }
    for (enum aws_file file = AWS_FILES; file-- > 0;)
        if (aws_profile_get(profile, file, place->property, ret, size) == 1)
            return true;
    return false;
}

static bool is_true(const struct place *place, const struct aws_profile *profile)
{
    char value[8];

    return look(place, profile, value, sizeof(value)) && strcasecmp(value, "true") == 0;
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
    const char *prefix = settings->key_prefix ? settings->key_prefix : "";
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

static bool is_region(const char *text)
{
    return consists_of(text, "-") && strlen(text) < sizeof(((struct s3_address *)0)->region);
}

static int resolve_region(const struct s3_settings *settings, const struct aws_profile *profile,
                          struct s3_address *ret, char *why, size_t why_size)
{
    char region[256], ignored[256];

    if (!look(&region_place, profile, region, sizeof(region))) {
        const char *set = settings->region ? settings->region : "";

        if (set[0] != '\0')
            snprintf(region, sizeof(region), "%s", set);
        else if (ret->is_custom || imds_region(profile, settings->deadline_ns, region,
                                               sizeof(region), ignored, sizeof(ignored)) < 0)
            strcpy(region, "us-east-1");
    }
    if (!is_region(region)) {
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
    char host[160];

    snprintf(host, sizeof(host), "s3%s%s.%s.%s", ret->is_fips ? "-fips" : "",
             ret->is_dualstack ? ".dualstack" : "", ret->region, aws_dns_suffix(ret->region));
    if (is_dns_label(ret->bucket))
        snprintf(ret->base, sizeof(ret->base), "https://%s.%s", ret->bucket, host);
    else
        snprintf(ret->base, sizeof(ret->base), "https://%s/%s", host, ret->bucket);
}

/* Scheme, host, port and path, of characters that leave no room for anything else. */
static bool is_endpoint(const char *text, bool *ret_is_tls, char *ret_host, size_t host_size)
{
    const char *host = strstr(text, "://");

    return consists_of(text, "-._~:/[]") && host && host[3] != '/' &&
           (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0) &&
           http_url_split(text, ret_is_tls, ret_host, host_size) == 0;
}

static int make_custom_base(const char *endpoint, bool allow_http, struct s3_address *ret,
                            char *why, size_t why_size)
{
    size_t length = strlen(endpoint);
    char host[256];
    bool is_tls;
    int n;

    if (!is_endpoint(endpoint, &is_tls, host, sizeof(host))) {
        /* Not shown: someone may have put a password into it. */
        snprintf(why, why_size,
                 "the S3 endpoint must look like https://host:port, without a user or a query: "
                 "correct AWS_ENDPOINT_URL_S3");
        return -EINVAL;
    }
    if (!is_tls && !allow_http && !http_host_is_loopback(host)) {
        snprintf(why, why_size,
                 "the S3 endpoint %s has no TLS: anyone on the way could read the core; make it an "
                 "https one, or set S3_ALLOW_HTTP=yes",
                 endpoint);
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
    char endpoint[sizeof(ret->base)];
    int r;

    memset(ret, 0, sizeof(*ret));
    r = resolve_bucket(settings, ret, why, why_size);
    if (r < 0)
        return r;
    ret->is_custom = !is_true(&ignore_place, profile) &&
                     look(&endpoint_place, profile, endpoint, sizeof(endpoint));
    if (!ret->is_custom && settings->endpoint && settings->endpoint[0] != '\0') {
        ret->is_custom = true;
        snprintf(endpoint, sizeof(endpoint), "%s", settings->endpoint);
    }
    ret->is_fips = is_true(&fips_place, profile);
    ret->is_dualstack = is_true(&dualstack_place, profile);
    if (ret->is_custom && (ret->is_fips || ret->is_dualstack)) {
        snprintf(why, why_size,
                 "%s can't be had of an S3 endpoint that is set by its URL: unset one of them",
                 ret->is_fips ? "AWS_USE_FIPS_ENDPOINT" : "AWS_USE_DUALSTACK_ENDPOINT");
        return -EINVAL;
    }
    r = resolve_region(settings, profile, ret, why, why_size);
    if (r < 0)
        return r;
    if (ret->is_custom)
        return make_custom_base(endpoint, settings->allow_http, ret, why, why_size);
    make_aws_base(ret);
    return 0;
}

int s3_address_move(struct s3_address *address, const char *region)
{
    if (!is_region(region) || strcmp(region, address->region) == 0 ||
        strcmp(aws_dns_suffix(region), aws_dns_suffix(address->region)) != 0)
        return -EINVAL;
    strcpy(address->region, region);
    if (!address->is_custom)
        make_aws_base(address);
    return 0;
}

int s3_address_follow(struct s3_address *address, const char *location)
{
    const char *suffix = aws_dns_suffix(address->region);
    size_t size, bucket_size = strlen(address->bucket);
    char host[256];
    bool is_tls;

    if (address->is_custom || address->is_fips ||
        http_url_split(location, &is_tls, host, sizeof(host)) < 0 || !is_tls)
        return -EINVAL;
    size = strlen(host);
    if (size < strlen(suffix) + 1 || strcmp(host + size - strlen(suffix), suffix) != 0 ||
        host[size - strlen(suffix) - 1] != '.' ||
        strncmp(host, address->bucket, bucket_size) != 0 ||
        strncmp(host + bucket_size, ".s3", 3) != 0 || !strchr(".-", host[bucket_size + 3]))
        return -EINVAL;
    snprintf(address->base, sizeof(address->base), "https://%s", host);
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
