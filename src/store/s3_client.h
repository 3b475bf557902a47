#pragma once

/* One S3 request and its reply: signed and sent by libcurl, tried again where that may help. */

#include <stdbool.h>
#include <stdint.h>

#include <curl/curl.h>

#include "store/aws_credentials.h"
#include "store/s3.h"
#include "store/s3_address.h"
#include "store/s3_failure.h"
#include "store/s3_reply.h"

/* What s3_open() makes: one connection, used by one request at a time. */
struct s3 {
    CURL *curl; /* reused, and with it the TCP and TLS connection */
    struct aws_credentials credentials;
    struct s3_address address;
    char destination[1536];    /* s3://bucket/prefix */
    bool is_hasty;             /* somebody waits: one attempt of a few seconds for each request */
    struct s3_failure failure; /* of the last request that failed */
    char reply[S3_MAX_REPLY_BYTES];
    size_t reply_size;
};

/* A request's payload: memory, or where @data is NULL a range of a file. */
struct s3_body {
    const void *data;
    int fd;
    uint64_t offset;
    uint64_t size;
};

struct s3_request {
    const char *method;
    const char *name;         /* of the object */
    const char *query;        /* sorted and percent-encoded, each parameter with its '='; or NULL */
    const char *content_type; /* or NULL */
    struct s3_body body;
    const char *reply_root; /* a good reply's root element, or NULL where there is none to read */
    bool needs_etag;        /* a good reply has one: what answers without is no S3 server */
    bool takes_long;        /* the server may work for minutes before it answers */
};

struct s3_response {
    char etag[128];
    char region[64];       /* x-amz-bucket-region */
    char date[64];         /* the server's clock, as HTTP writes it */
    struct s3_reply reply; /* empty where @reply_root is NULL and nothing failed */
};

/*
 * Prepares s3->curl and s3->destination for address and credentials, which are there already.
 * Nothing is sent yet.
 *
 * libcurl keeps copies of the key that it frees without wiping them.
 *
 * Returns 0 or -ENOMEM; s3->curl is the caller's to free in any case.
 */
int s3_prepare(struct s3 *s3);

/*
 * Sends a request, up to three times where it fails in a way that may pass (5xx, 429, time-outs,
 * resets), with full-jitter pauses.
 *
 * Returns 0, or -errno as s3_put_file() with s3->failure saying what happened; nothing is logged at
 * error level.
 */
int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret);

/* Makes s3->failure of an error of our own. Returns @error. */
int s3_fail(struct s3 *s3, int error, const char *words);

/* Logs s3->failure as the reason why @name could not be sent. Returns its error. */
int s3_report(const struct s3 *s3, const char *name);
