/* What an S3 server, or whoever is in its place, answers. */

#include <string.h>

#include "store/s3_failure.h"
#include "store/s3_reply.h"

#include "fuzz.h"

static void take_part(void *context, const struct s3_part *part)
{
    (void)context;
    fuzz_expect(strlen(part->etag) < sizeof(part->etag) &&
                strlen(part->checksum) < sizeof(part->checksum));
}

static void expect_printable(const char *text)
{
    for (; *text; text++)
        fuzz_expect((unsigned char)*text >= ' ' && *text != 0x7f);
}

static void parse_reply(const char *data, size_t size)
{
    struct s3_reply reply;
    struct s3_failure failure;

    if (s3_reply_parse(data, size, take_part, NULL, &reply) < 0)
        fuzz_expect(reply.root[0] == '\0' && reply.upload_id[0] == '\0');
    expect_printable(reply.message);
    s3_failure_of_reply(400, &reply, "eu-west-1", &failure);
    s3_failure_of_reply(200, &reply, "", &failure);
    fuzz_expect(failure.error < 0);
    expect_printable(failure.words);
}

static fuzz_parser *const parsers[] = {parse_reply};
FUZZ_TARGET(parsers)
