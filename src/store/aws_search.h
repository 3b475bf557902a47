#pragma once

/* What the sources of credentials share, when aws_chain.c asks one after the other. */

#include <stdbool.h>
#include <stdint.h>

#include "store/aws_credentials.h"
#include "store/aws_profile.h"
#include "store/http.h"

struct aws_search {
    const struct aws_profile *profile;
    char sts_region[64];                /* "": the global STS */
    bool allow_http;                    /* STS by plain http elsewhere than on a loopback address */
    const _Atomic int64_t *deadline_ns; /* as in struct http_request */
    char *why;                          /* of a failure: the reason and the mend, for people */
    size_t why_size;
};

/*
 * A source. It fills @ret, with the place for people, and may leave part of it behind when it
 * fails: the caller wipes it.
 *
 * Returns 1, 0 (it isn't configured here: the next one's turn), or -errno as aws_chain_get(), with
 * search->why.
 */
typedef int aws_source(const struct aws_search *search, struct aws_credentials *ret);

/* aws_credentials_of_environment() as a source. */
aws_source environment_credentials;

/* Writes search->why. Returns @error. */
int aws_search_fail(const struct aws_search *search, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Reads a token's file, as it is now: who issues tokens renews it.
 *
 * @ret  NUL-terminated
 *
 * Returns its size, or -EINVAL with search->why.
 */
int aws_search_read_token(const struct aws_search *search, const char *path, char *ret,
                          size_t size);

/*
 * http_exchange() with the search's profile and deadline, up to three times where what fails may
 * pass (5xx, 429, time-outs, resets), with pauses of full jitter.
 *
 * Returns 0 with the last reply, whatever its status, or as http_exchange() with search->why.
 */
int aws_search_ask(const struct aws_search *search, struct http_request *request,
                   struct http_reply **ret);

/* What a status that isn't 200 means: -EACCES (401, 403), -ENOENT (404), -EAGAIN (429, 5xx), else
 * -EPROTO. */
int aws_status_error(long status);
