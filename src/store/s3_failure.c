#include "store/s3_failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* libcurl-errors(3). What is not listed here says that something is wrong on our own side. */
static const struct {
    CURLcode code;
    int error;
    bool transient;
    const char *mend;
} curl_meanings[] = {
    {CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, true, "check the region, the endpoint and the DNS"},
    {CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH, true, "check https_proxy and the DNS"},
    {CURLE_COULDNT_CONNECT, -ECONNREFUSED, true, "check the endpoint and the route to it"},
    {CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, true, "check the route to the endpoint"},
    {CURLE_SEND_ERROR, -EIO, true, NULL},
    {CURLE_RECV_ERROR, -EIO, true, NULL},
    {CURLE_GOT_NOTHING, -EIO, true, NULL},
    {CURLE_PARTIAL_FILE, -EIO, true, NULL},
    {CURLE_SSL_CONNECT_ERROR, -EPROTO, true, "does the endpoint speak TLS?"},
    {CURLE_PEER_FAILED_VERIFICATION, -EPROTO, false,
     "AWS_CA_BUNDLE can name a file with the authority's certificate"},
    {CURLE_SSL_CACERT_BADFILE, -EPROTO, false,
     "AWS_CA_BUNDLE can name a file with the authorities' certificates"},
    {CURLE_UNSUPPORTED_PROTOCOL, -EPROTO, false, "is the endpoint an S3 server?"},
    {CURLE_WEIRD_SERVER_REPLY, -EPROTO, false, "is the endpoint an S3 server?"},
    {CURLE_OUT_OF_MEMORY, -ENOMEM, false, NULL},
};

/* Amazon S3 API Reference, "Error responses". A status below stands for replies without a code, as
 * proxies and load balancers give them. */
static const struct meaning {
    const char *code;
    long status;
    int error;
    bool transient;
    bool wrong_region; /* the mend is the region that the server names */
    const char *mend;
} meanings[] = {
    {.code = "AccessDenied",
     .error = -EACCES,
     .mend = "the credentials need s3:PutObject and s3:AbortMultipartUpload there"},
    {.code = "NoSuchBucket", .error = -ENOENT, .mend = "correct S3_BUCKET or make the bucket"},
    {.code = "InvalidAccessKeyId",
     .error = -EACCES,
     .mend = "check the access key; a temporary one needs its session token too"},
    {.code = "InvalidToken", .error = -EACCES, .mend = "check AWS_SESSION_TOKEN"},
    {.code = "SignatureDoesNotMatch", .error = -EACCES, .mend = "check the secret access key"},
    {.code = "ExpiredToken", .error = -EACCES, .mend = "renew the temporary credentials"},
    {.code = "TokenRefreshRequired", .error = -EACCES, .mend = "renew the temporary credentials"},
    {.code = "AllAccessDisabled", .error = -EACCES},
    {.code = "AccountProblem", .error = -EACCES},
    {.code = "RequestTimeTooSkewed", .error = -EACCES, .mend = "set this machine's clock"},
    {.code = "PermanentRedirect", .error = -EINVAL, .wrong_region = true},
    {.code = "AuthorizationHeaderMalformed", .error = -EINVAL, .wrong_region = true},
    {.code = "TemporaryRedirect", .error = -EINVAL, .wrong_region = true},
    {.code = "NoSuchUpload", .error = -EIO, .mend = "something aborted the upload"},
    {.code = "BadDigest", .error = -EBADMSG},
    {.code = "XAmzContentSHA256Mismatch", .error = -EBADMSG},
    {.code = "XAmzContentChecksumMismatch", .error = -EBADMSG},
    {.code = "OperationAborted", .error = -EIO, .transient = true},
    {.code = "SlowDown", .error = -EIO, .transient = true},
    {.code = "Throttling", .error = -EIO, .transient = true},
    {.code = "ThrottlingException", .error = -EIO, .transient = true},
    {.code = "RequestLimitExceeded", .error = -EIO, .transient = true},
    {.code = "RequestThrottled", .error = -EIO, .transient = true},
    {.code = "BandwidthLimitExceeded", .error = -EIO, .transient = true},
    {.code = "RequestTimeout", .error = -ETIMEDOUT, .transient = true},
    {.code = "InternalError", .error = -EIO, .transient = true},
    {.code = "ServiceUnavailable", .error = -EIO, .transient = true},
    {.status = 301, .error = -EINVAL, .wrong_region = true},
    {.status = 307, .error = -EINVAL, .wrong_region = true},
    {.status = 408, .error = -ETIMEDOUT, .transient = true},
    {.status = 401, .error = -EACCES, .mend = "is the endpoint an S3 server?"},
    {.status = 403, .error = -EACCES, .mend = "is the endpoint an S3 server?"},
    {.status = 404, .error = -ENOENT, .mend = "is the endpoint an S3 server?"},
    {.status = 429, .error = -EIO, .transient = true},
    {.status = 500, .error = -EIO, .transient = true},
    {.status = 502, .error = -EIO, .transient = true},
    {.status = 503, .error = -EIO, .transient = true},
    {.status = 504, .error = -EIO, .transient = true},
};

static void add_mend(struct s3_failure *failure, const char *mend)
{
    size_t used = strlen(failure->words);

    if (!mend)
        return;
    if (used > 0 && failure->words[used - 1] == '.') /* many messages end so */
        used--;
    snprintf(failure->words + used, sizeof(failure->words) - used, "; %s", mend);
}

void s3_failure_of_curl(CURLcode code, const char *detail, long os_error, struct s3_failure *ret)
{
    /* libcurl quotes a proxy's URL that it can't use, password included. */
    if (detail[0] == '\0' || strchr(detail, '@'))
        detail = curl_easy_strerror(code);
    s3_failure_of(-EIO, ret, "%s", detail);
    for (size_t i = 0; i < sizeof(curl_meanings) / sizeof(curl_meanings[0]); i++) {
        if (curl_meanings[i].code != code)
            continue;
        ret->error = curl_meanings[i].error;
        ret->transient = curl_meanings[i].transient;
        add_mend(ret, curl_meanings[i].mend);
    }
    if (code == CURLE_COULDNT_CONNECT && (os_error == EHOSTUNREACH || os_error == ENETUNREACH))
        ret->error = -EHOSTUNREACH;
}

/* By the code where it is a known one, else by the status. */
static const struct meaning *find_meaning(const char *code, long status)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (meanings[i].code ? strcmp(meanings[i].code, code) == 0 : meanings[i].status == status)
            return &meanings[i];
    return NULL;
}

void s3_failure_of_reply(long status, const struct s3_reply *reply, const char *region,
                         struct s3_failure *ret)
{
    static const struct meaning unknown = {.error = -EIO};
    const struct meaning *meaning = find_meaning(reply->code, status);
    char region_mend[128];

    if (!meaning)
        meaning = &unknown;
    if (reply->code[0] != '\0')
        s3_failure_of(meaning->error, ret, "%s (%ld)%s%s", reply->code, status,
                      reply->message[0] != '\0' ? ": " : "", reply->message);
    else
        s3_failure_of(meaning->error, ret, "HTTP status %ld", status);
    ret->transient = meaning->transient;
    ret->is_elsewhere = meaning->wrong_region;
    snprintf(ret->code, sizeof(ret->code), "%s", reply->code);

    if (meaning->wrong_region) {
        if (reply->region[0] != '\0')
            region = reply->region;
        snprintf(region_mend, sizeof(region_mend), "set AWS_REGION to %s",
                 region[0] != '\0' ? region : "the bucket's");
        add_mend(ret, region_mend);
    } else if (meaning->code || reply->code[0] == '\0') {
        add_mend(ret, meaning->mend);
    }
}

void s3_failure_of(int error, struct s3_failure *ret, const char *format, ...)
{
    va_list arguments;

    memset(ret, 0, sizeof(*ret));
    ret->error = error;
    va_start(arguments, format);
    vsnprintf(ret->words, sizeof(ret->words), format, arguments);
    va_end(arguments);
}
