#pragma once

/* One small HTTP exchange by libcurl, bounded in time and size: what STS and the metadata services
 * need. Redirects are not followed: what asks for credentials goes where it was told, or nowhere.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aws_profile.h"

/* The longest answers are an ECS task's metadata. */
#define HTTP_MAX_REPLY_BYTES ((size_t)128 * 1024)

struct http_header {
    const char *name, *value;
};

struct http_request {
    const char *method; /* "GET", "PUT" or "POST" */
    const char *url;
    const struct http_header *headers; /* ended by a NULL name; or NULL. A NULL or empty value: the
                                          header isn't sent */
    const char *body;                  /* or NULL */
    const struct aws_profile *profile; /* whose ca_bundle counts too; or NULL */
    bool is_direct; /* whatever proxy the environment names: metadata is of this machine */
    int connect_ms; /* 0: as timeout_ms */
    int timeout_ms; /* of all of it */
    const _Atomic int64_t *deadline_ns; /* of monotonic_ns(), after which it is given up; another
                                           thread may move it meanwhile. NULL, or 0: none */

    /* Signature Version 4, where @sign_as isn't NULL: "aws:amz:REGION:SERVICE". */
    const char *sign_as, *access_key_id, *secret_access_key;
};

struct http_reply {
    long status;
    size_t size;
    char text[HTTP_MAX_REPLY_BYTES + 1]; /* NUL-terminated, NULs may be in it as well */
};

/* Whether a deadline as in struct http_request is past. */
bool http_is_late(const _Atomic int64_t *deadline_ns);

/*
 * Sends a request and waits for the whole answer, whatever its status is. Works in any thread, in a
 * process that ignores SIGPIPE. libcurl keeps copies of keys and headers that it frees without
 * wiping them.
 *
 * @ret  to be freed with http_reply_free(), which wipes it
 * @why  of a failure: "HOST doesn't answer: …", for people; without headers or bodies
 *
 * Returns 0, -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH (no such host, or no way there), -EPROTO (it
 * isn't HTTP, TLS failed, or the answer is too long), -EINVAL (of a header's value: a control
 * character), -ENOMEM or -EIO.
 */
int http_exchange(const struct http_request *request, struct http_reply **ret, char *why,
                  size_t why_size);

/* NULL is fine. */
void http_reply_free(struct http_reply *reply);

static inline void cleanup_http_reply(struct http_reply **reply)
{
    http_reply_free(*reply);
}
#define _cleanup_http_reply_ __attribute__((cleanup(cleanup_http_reply)))

/*
 * What a URL's beginning is, by libcurl's own parser, so that what is judged is what is used.
 *
 * @ret_host  lower case, an IPv6 address in brackets
 *
 * Returns 0, or -EINVAL where it isn't an http or https URL, or has a user, a password or a
 * fragment, or doesn't fit.
 */
int http_url_split(const char *url, bool *ret_is_tls, char *ret_host, size_t host_size);

/* Whether a host as of http_url_split() is this machine itself: 127.0.0.0/8, [::1], localhost. */
bool http_host_is_loopback(const char *host);
