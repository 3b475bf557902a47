#pragma once

/*
 * The JSON documents that credentials come in: the container credentials endpoint's, the instance
 * metadata service's, and what a credential_process prints. Every byte is distrusted.
 */

#include <stddef.h>

#include "store/aws_credentials.h"

enum aws_document {
    AWS_DOCUMENT_SERVICE, /* the session token is "Token", and Expiration is required */
    AWS_DOCUMENT_PROCESS, /* "SessionToken", "Version": 1; without Expiration it is a lasting key */
};

/*
 * Reads such a document.
 *
 * @ret  keys and expiry; to be wiped in any case
 * @why  of a failure: what is wrong with it, and never a value of it but the service's own Code and
 *       Message
 *
 * Returns 0, -EACCES (it says in Code and Message why there are none), -EPROTO (it is not such a
 * document) or -ENOMEM.
 */
int aws_document_parse(const char *text, size_t size, enum aws_document kind,
                       struct aws_credentials *ret, char *why, size_t why_size);

/*
 * Makes words of a service's reply that isn't 200: its Code and Message, of the JSON members in
 * either case, or nothing.
 *
 * @ret  "" or ": CODE: MESSAGE", of printable characters
 */
void aws_document_complaint(const char *text, size_t size, char *ret, size_t ret_size);
