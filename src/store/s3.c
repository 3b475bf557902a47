#include "store/s3.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <curl/curl.h>

#include "store/aws_profile.h"
#include "store/s3_client.h"
#include "store/s3_upload.h"
#include "util/cleanup.h"
#include "util/log.h"

static void cleanup_s3(struct s3 **s3)
{
    s3_close(*s3);
}

int s3_open(const struct s3_settings *settings, struct s3 **ret)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;
    _cleanup_(cleanup_s3) struct s3 *s3 = NULL;
    char why[3 * PATH_MAX];
    int r;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return log_errno(ENOMEM, "cannot start libcurl");
    s3 = calloc(1, sizeof(*s3));
    if (!s3) {
        curl_global_cleanup();
        return log_errno(ENOMEM, "cannot prepare to send to S3");
    }

    r = aws_profile_load(&profile);
    if (r < 0)
        return log_errno(r, "cannot read the AWS profile");
    r = s3_address_resolve(settings, profile, &s3->address, why, sizeof(why));
    if (r == 0)
        r = aws_credentials_find(profile, &s3->credentials, why, sizeof(why));
    if (r < 0) {
        log_error("%s", why);
        return r;
    }
    log_info("AWS credentials are those of %s", s3->credentials.place);
    r = s3_prepare(s3);
    if (r < 0)
        return log_errno(r, "cannot prepare to send to S3");

    log_info("S3 objects go to %s, region %s, by %s", s3->destination, s3->address.region,
             s3->address.base);
    *ret = take_ptr(s3);
    return 0;
}

const char *s3_destination(const struct s3 *s3)
{
    return s3->destination;
}

const char *s3_last_error(const struct s3 *s3)
{
    return s3->failure.words;
}

static int put_parts(struct s3 *s3, const char *name, int fd, uint64_t size)
{
    _cleanup_s3_upload_ struct s3_upload upload = {0};
    uint64_t part_bytes = s3_file_part_bytes(size);
    int r;

    if (part_bytes == 0)
        return s3_fail(s3, -EFBIG, "an S3 object has at most 10,000 parts of 5 GiB");
    r = s3_upload_begin(s3, name, &upload);
    for (uint64_t done = 0; r == 0 && done < size; done += part_bytes) {
        uint64_t left = size - done;
        struct s3_body body = {
            .fd = fd, .offset = done, .size = left < part_bytes ? left : part_bytes};

        r = s3_upload_part(&upload, &body);
    }
    return r < 0 ? r : s3_upload_complete(&upload);
}

int s3_put_file(struct s3 *s3, const char *name, int fd, uint64_t size, char *ret_error,
                size_t error_size)
{
    struct s3_body whole = {.fd = fd, .size = size};
    int r = size <= S3_SINGLE_PUT_BYTES ? s3_put_object(s3, name, &whole)
                                        : put_parts(s3, name, fd, size);

    if (r < 0)
        s3_report(s3, name);
    if (ret_error)
        snprintf(ret_error, error_size, "%s", r < 0 ? s3->failure.words : "");
    return r;
}

void s3_close(struct s3 *s3)
{
    if (!s3)
        return;
    curl_easy_cleanup(s3->curl);
    aws_credentials_wipe(&s3->credentials);
    free(s3);
    curl_global_cleanup();
}
