#pragma once

/* What a request's failure means: for the code (errno, worth another try?) and for people. */

#include <stdbool.h>

#include <curl/curl.h>

#include "store/s3_reply.h"

struct s3_failure {
    int error;         /* -errno, as s3_upload.h promises them */
    bool transient;    /* the same request may well succeed a little later */
    bool is_elsewhere; /* the bucket is in another region, or for now at another host */
    char code[64];     /* S3's own, "" where it said none */
    char words[512];   /* what happened and the mend, "" where nothing failed */
};

/*
 * A request that got no reply.
 *
 * @detail    libcurl's own words, "" for the general ones of @code
 * @os_error  errno of the connection attempt (CURLINFO_OS_ERRNO), 0 where there was none
 */
void s3_failure_of_curl(CURLcode code, const char *detail, long os_error, struct s3_failure *ret);

/*
 * A reply that says no: "AccessDenied (403): Access Denied; …".
 *
 * @status  of HTTP; 200 too, because CompleteMultipartUpload may fail after its headers were sent
 * @reply   empty where the body was none of S3's
 * @region  the bucket's, of the x-amz-bucket-region header, or ""
 */
void s3_failure_of_reply(long status, const struct s3_reply *reply, const char *region,
                         struct s3_failure *ret);

/* Any other failure, in our own words; not transient. */
void s3_failure_of(int error, struct s3_failure *ret, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
