/* Where credentials come from: files and programs of all kinds, and services of the container's. */

#include <string.h>

#include "store/aws_document.h"
#include "store/aws_profile.h"
#include "store/aws_time.h"
#include "store/container_credentials.h"
#include "store/credential_process.h"
#include "store/http.h"
#include "store/sts_reply.h"
#include "util/cleanup.h"

#include "fuzz.h"

/* The names of a profile and a property, then the file. */
static void parse_profile(const char *data, size_t size)
{
    struct fuzz_texts texts = {data, size};
    char profile[256], property[64], value[128];

    fuzz_text(&texts, profile, sizeof(profile));
    fuzz_text(&texts, property, sizeof(property));
    for (int file = 0; file < AWS_FILES; file++)
        if (aws_profile_text_get(texts.at, texts.left, (enum aws_file)file, profile, property,
                                 value, sizeof(value)) == 1)
            fuzz_expect(value[0] != '\0' && strlen(value) < sizeof(value));
}

static void parse_document(const char *data, size_t size, enum aws_document kind)
{
    _cleanup_aws_credentials_ struct aws_credentials credentials = {0};
    char why[512];

    if (aws_document_parse(data, size, kind, &credentials, why, sizeof(why)) == 0)
        fuzz_expect(aws_credentials_are_whole(&credentials));
    aws_document_complaint(data, size, why, sizeof(why));
    for (const char *at = why; *at; at++)
        fuzz_expect((unsigned char)*at >= ' ' && *at != 0x7f);
}

static void parse_service_document(const char *data, size_t size)
{
    parse_document(data, size, AWS_DOCUMENT_SERVICE);
}

static void parse_process_document(const char *data, size_t size)
{
    parse_document(data, size, AWS_DOCUMENT_PROCESS);
}

static void parse_sts_reply(const char *data, size_t size)
{
    struct sts_reply reply;

    if (sts_reply_parse(data, size, &reply) == 0)
        fuzz_expect(reply.code[0] != '\0' || aws_credentials_are_whole(&reply.credentials));
    aws_credentials_wipe(&reply.credentials);
}

static void parse_time(const char *data, size_t size)
{
    _cleanup_free_ char *text = fuzz_whole(data, size);
    int64_t when;

    (void)aws_time_parse(text, &when);
}

static void split_command(const char *data, size_t size)
{
    _cleanup_free_ char *command = fuzz_whole(data, size);
    char *words[CREDENTIAL_PROCESS_WORDS + 1];

    if (credential_process_split(command, words) < 0)
        return;
    fuzz_expect(words[0] != NULL);
    for (size_t i = 0; words[i]; i++)
        fuzz_expect(words[i] >= command && words[i] + strlen(words[i]) <= command + size);
}

static void split_url(const char *data, size_t size)
{
    _cleanup_free_ char *url = fuzz_whole(data, size);
    bool is_tls = false;
    char host[256];

    if (http_url_split(url, &is_tls, host, sizeof(host)) == 0)
        (void)http_host_is_loopback(host);
    else
        fuzz_expect(!container_uri_is_allowed(url));
}

static fuzz_parser *const parsers[] = {
    parse_profile,
    parse_service_document,
    parse_process_document,
    parse_sts_reply,
    parse_time,
    split_command,
    split_url,
};
FUZZ_TARGET(parsers)
