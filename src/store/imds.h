#pragma once

/*
 * The EC2 instance metadata service, version 2 alone: a PUT gets a token, without which nothing is
 * asked (Amazon EC2 User Guide, "Use the Instance Metadata Service to access instance metadata").
 * AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT and …_ENDPOINT_MODE,
 * AWS_METADATA_SERVICE_TIMEOUT (seconds, 1) and …_NUM_ATTEMPTS (2) are honoured as the SDKs do.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aws_profile.h"
#include "store/http.h"

struct imds {
    char endpoint[256];
    char token[512];
    unsigned attempts;
    int timeout_ms;                     /* of each request */
    const _Atomic int64_t *deadline_ns; /* of all of them, as in struct http_request */
};

/*
 * Nothing is asked yet.
 *
 * @profile      whose ec2_metadata_service_endpoint and …_endpoint_mode count too; or NULL
 * @deadline_ns  must outlive @ret; or NULL
 *
 * Returns 0, -ENOKEY (it is disabled) or -EINVAL (a setting is malformed).
 */
int imds_open(const struct aws_profile *profile, const _Atomic int64_t *deadline_ns,
              struct imds *ret, char *why, size_t why_size);

/*
 * Asks for one path, with a new token where there is none yet or it is refused (401).
 *
 * @path  "/latest/…"
 * @ret   its answer, status 200
 *
 * Returns 0, -ENOENT (there is no such thing), -EACCES (the service is switched off), -EAGAIN
 * (5xx), -EPROTO, or as http_exchange().
 */
int imds_get(struct imds *imds, const char *path, struct http_reply **ret, char *why,
             size_t why_size);

/* Wipes the token. */
void imds_close(struct imds *imds);

/*
 * The region that the instance is in.
 *
 * @profile, @deadline_ns  as imds_open()
 *
 * Returns 0, or as imds_open() and imds_get().
 */
int imds_region(const struct aws_profile *profile, const _Atomic int64_t *deadline_ns, char *ret,
                size_t size, char *why, size_t why_size);
