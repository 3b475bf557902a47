#pragma once

/* What STS answers with (AWS Security Token Service API Reference, AssumeRole): small XML
 * documents, read with expat, every byte distrusted. */

#include <stddef.h>

#include "store/aws_credentials.h"

struct sts_reply {
    struct aws_credentials credentials; /* access key, token and expiry of a good one */
    char code[64];                      /* of a refusal; else "" */
    char message[257];                  /* cut where it is longer; no control characters */
};

/*
 * Reads one reply.
 *
 * @ret  to be wiped by the caller, in any case
 *
 * Returns 0 with either a whole key that expires or a code, -EPROTO (it is neither) or -ENOMEM.
 */
int sts_reply_parse(const char *data, size_t size, struct sts_reply *ret);
