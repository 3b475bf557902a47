#pragma once

/* One S3 request and its reply: signed, sent, tried again where that may help, and mended where the
 * server says what is wrong (its clock, the bucket's region, an expired key). */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <curl/curl.h>

#include "store/aws_chain.h"
#include "store/aws_credentials.h"
#include "store/aws_profile.h"
#include "store/s3.h"
#include "store/s3_address.h"
#include "store/s3_body.h"
#include "store/s3_checksum.h"
#include "store/s3_failure.h"
#include "store/s3_headers.h"
#include "store/s3_reply.h"
#include "store/s3_retry.h"

/* One connection, used by one request at a time. */
struct s3 {
    CURL *curl; /* reused, and with it the TCP and TLS connection */
    struct aws_profile *profile;
    struct aws_chain *chain;
    struct aws_credentials credentials;
    struct s3_address address;
    char destination[1536]; /* s3://bucket/prefix */

    struct s3_headers request_headers; /* of every request */
    struct s3_headers object_headers;  /* of those that make an object */
    uint64_t upload_rate;
    bool is_hasty; /* somebody waits: one attempt of a few seconds for each request */

    enum s3_algorithm algorithm; /* the best that the server isn't known not to know */
    bool is_algorithm_set;       /* it is this one or none */
    struct crc crc;

    struct s3_retry retry;
    int64_t clock_offset; /* seconds that the server's clock is ahead of ours */

    _Atomic int64_t deadline; /* monotonic_ns(), 0: none */
    int wake_fd;              /* an eventfd: the deadline is another one now */
    void (*on_progress)(void *context, uint64_t bytes);
    void *progress_context;

    bool is_verified; /* s3_is_verified() */

    struct s3_failure failure; /* of the last request that failed */
    char reply[S3_MAX_REPLY_BYTES];
    size_t reply_size;
};

struct s3_request {
    const char *method;
    const char *name;         /* of the object */
    const char *query;        /* sorted and percent-encoded, each parameter with its '='; or NULL */
    const char *content_type; /* or NULL */
    struct s3_body body;
    const char *sha256;               /* of the body; NULL: it is in memory, and small */
    uint64_t *reported;               /* bytes of it that s3->on_progress was told of; NULL: none */
    const struct s3_headers *headers; /* more of them, or NULL */
    bool makes_object;                /* what is set for objects goes with it */
    const char *reply_root; /* a good reply's root element, or NULL where there is none to read */
    s3_part_fn on_part;     /* s3_reply_parse() */
    void *part_context;
    bool needs_etag; /* a good reply has one: what answers without is no S3 server */
    bool takes_long; /* the server may work for minutes before it answers */
};

struct s3_response {
    long status; /* 0: there was none */
    char etag[128];
    char region[64];                                 /* x-amz-bucket-region */
    char date[64];                                   /* the server's clock, as HTTP writes it */
    char location[2048];                             /* where a redirect leads */
    char encryption[16];                             /* x-amz-server-side-encryption */
    char checksum_algorithm[16];                     /* of an upload that was begun */
    char checksums[S3_ALGORITHMS][S3_CHECKSUM_TEXT]; /* x-amz-checksum-…; "" for MD5 */
    char length[24];                                 /* Content-Length */
    struct s3_reply reply; /* empty where @reply_root is NULL and nothing failed */
};

/* How far s3_make() came; each step needs the one before it. */
enum s3_made { S3_MADE_NOTHING, S3_MADE_ADDRESS, S3_MADE_ALL };

/*
 * What s3_open() does, without a word.
 *
 * @ret       to be closed with s3_close(); NULL on -ENOMEM
 * @ret_made  how far it came
 * @why       the reason of what failed and the mend, for people
 *
 * Returns as s3_open().
 */
int s3_make(const struct s3_settings *settings, bool is_hasty, struct s3 **ret,
            enum s3_made *ret_made, char *why, size_t why_size);

/*
 * Sends a request, again where it fails in a way that may pass (5xx, 429, time-outs, resets), and
 * at once where the failure tells how to do better.
 *
 * Returns 0, or -errno as s3_upload.h has them with s3->failure saying what happened; nothing is
 * logged at error level.
 */
int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret);

/* Makes s3->failure of an error of our own. Returns @error. */
int s3_fail(struct s3 *s3, int error, const char *words);

/* The same of a body that can't be read. */
int s3_fail_reading(struct s3 *s3, int error);
