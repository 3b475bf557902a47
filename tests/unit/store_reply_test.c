/* S3's replies, the friendly and the hostile ones. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_failure.h"
#include "store/s3_reply.h"

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static struct s3_reply reply;
static struct s3_part parts[4];
static size_t n_parts;

static int parse(const char *text)
{
    return s3_reply_parse(text, strlen(text), NULL, NULL, &reply);
}

static void on_part(void *context, const struct s3_part *part)
{
    (void)context;
    if (n_parts < sizeof(parts) / sizeof(parts[0]))
        parts[n_parts++] = *part;
}

static int parse_parts(const char *text)
{
    n_parts = 0;
    return s3_reply_parse(text, strlen(text), on_part, NULL, &reply);
}

static void assert_empty(void)
{
    static const struct s3_reply empty;

    assert_memory_equal(&reply, &empty, sizeof(reply));
}

static void an_error_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse(XML "<Error><Code>AccessDenied</Code><Message>Access &amp; more\n"
                               "denied</Message><Region>eu-west-1</Region>"
                               "<HostId>x</HostId></Error>"),
                     0);
    assert_string_equal(reply.root, "Error");
    assert_string_equal(reply.code, "AccessDenied");
    assert_string_equal(reply.message, "Access & more denied");
    assert_string_equal(reply.region, "eu-west-1");
    assert_string_equal(reply.upload_id, "");
}

static void an_upload_id_is_read_as_written(void **state)
{
    (void)state;
    assert_int_equal(parse(XML
                           "<InitiateMultipartUploadResult "
                           "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>"
                           "<UploadId>a&lt;b &#233;</UploadId></InitiateMultipartUploadResult>"),
                     0);
    assert_string_equal(reply.root, "InitiateMultipartUploadResult");
    assert_string_equal(reply.upload_id, "a<b \xc3\xa9");
}

static void the_parts_of_an_upload_are_read(void **state)
{
    (void)state;
    assert_int_equal(
        parse_parts(XML "<ListPartsResult><ChecksumAlgorithm>CRC32C</ChecksumAlgorithm>"
                        "<PartNumberMarker>0</PartNumberMarker><IsTruncated>true</IsTruncated>"
                        "<NextPartNumberMarker>7</NextPartNumberMarker><Part><ETag>&quot;a&quot;"
                        "</ETag><PartNumber>2</PartNumber><Size>5242880</Size><ChecksumCRC32C>"
                        "yZRlqg==</ChecksumCRC32C></Part><Part><PartNumber>7</PartNumber>"
                        "<Size>18446744073709551615</Size></Part></ListPartsResult>"),
        0);
    assert_string_equal(reply.checksum_algorithm, "CRC32C");
    assert_string_equal(reply.is_truncated, "true");
    assert_string_equal(reply.etag, "");
    assert_string_equal(reply.checksum, "");
    assert_int_equal(n_parts, 2);
    assert_int_equal(parts[0].number, 2);
    assert_int_equal(parts[0].size, 5242880);
    assert_string_equal(parts[0].etag, "\"a\"");
    assert_string_equal(parts[0].checksum, "yZRlqg==");
    assert_int_equal(parts[1].number, 7);
    assert_int_equal(parts[1].size, UINT64_MAX);
    assert_string_equal(parts[1].etag, "");
}

static void a_part_without_a_number_or_size_is_refused(void **state)
{
    static const char *const wrong[] = {
        "<PartNumber>1</PartNumber>",
        "<Size>1</Size>",
        "<PartNumber>-1</PartNumber><Size>1</Size>",
        "<PartNumber> 1</PartNumber><Size>1</Size>",
        "<PartNumber>1x</PartNumber><Size>1</Size>",
        "<PartNumber>4294967296</PartNumber><Size>1</Size>",
        "<PartNumber>1</PartNumber><Size>18446744073709551616</Size>",
        "<PartNumber>1</PartNumber><Size>0x1</Size>",
        "<PartNumber>00000000000000001</PartNumber><Size>1</Size>",
        "<Inner><PartNumber>1</PartNumber><Size>1</Size></Inner>",
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(text, sizeof(text), "<L><Part>%s</Part></L>", wrong[i]);
        assert_int_equal(parse_parts(text), -EBADMSG);
        assert_int_equal(n_parts, 0);
        assert_empty();
    }
    assert_int_equal(parse("<L><Part/></L>"), 0);
}

static void only_direct_children_of_the_root_count(void **state)
{
    (void)state;
    assert_int_equal(parse("<Error><Detail><Code>No</Code></Detail><Code>Yes<b>No</b></Code>"
                           "</Error>"),
                     0);
    assert_string_equal(reply.code, "Yes");
}

static void white_space_before_the_document_is_passed_over(void **state)
{
    (void)state;
    assert_int_equal(parse("  \r\n\t" XML "<A/>"), 0);
    assert_string_equal(reply.root, "A");
    assert_int_equal(parse(""), -ENODATA);
    assert_int_equal(parse(" \n"), -ENODATA);
}

static void what_is_no_document_leaves_nothing(void **state)
{
    static const char *const wrong[] = {
        "hello",
        "<html><br></html>",
        "<Error><Code>A</Code>",
        "<Error><Code>A</Error>",
        "<a/><b/>",
        "<Error><Code>\xff</Code></Error>",
        "<Error><Code>&lol;</Code></Error>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(parse(wrong[i]), -EBADMSG);
        assert_empty();
    }
    assert_int_equal(s3_reply_parse("<a/>\0", 5, NULL, NULL, &reply), -EBADMSG);
    assert_int_equal(s3_reply_parse("\0<a/>", 5, NULL, NULL, &reply), -EBADMSG);
}

static void a_document_type_is_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("<!DOCTYPE Error><Error><Code>A</Code></Error>"), -EBADMSG);
    assert_int_equal(parse("<!DOCTYPE e [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>"
                           "<Error><Code>&a;</Code></Error>"),
                     -EBADMSG);
    assert_empty();
}

static void depth_and_size_are_bounded(void **state)
{
    static char text[S3_MAX_REPLY_BYTES + 1];

    (void)state;
    for (size_t i = 0; i < 17; i++)
        strcat(text, "<a>");
    assert_int_equal(parse(text), -EBADMSG);
    memset(text, ' ', sizeof(text));
    memcpy(text, "<a>", 3);
    memcpy(text + sizeof(text) - 5, "</a>", 4);
    assert_int_equal(s3_reply_parse(text, sizeof(text) - 1, NULL, NULL, &reply), 0);
    assert_int_equal(s3_reply_parse(text, sizeof(text), NULL, NULL, &reply), -EBADMSG);
}

/* <Error><NAME>"é" times n</NAME></Error> */
static int parse_long(const char *name, size_t n)
{
    static char text[8192];
    char *next = text + sprintf(text, "<Error><%s>", name);

    while (n-- > 0)
        next = stpcpy(next, "\xc3\xa9");
    sprintf(next, "</%s></Error>", name);
    return parse(text);
}

static void a_message_is_cut_at_a_character_and_an_id_never(void **state)
{
    (void)state;
    assert_int_equal(parse_long("Message", 1000), 0);
    assert_int_equal(strlen(reply.message), 256);
    assert_string_equal(reply.message + 252, "\xc3\xa9\xc3\xa9");
    assert_int_equal(parse_long("UploadId", 512), 0);
    assert_int_equal(strlen(reply.upload_id), 1024);
    assert_int_equal(parse_long("UploadId", 513), -EBADMSG);
    assert_int_equal(parse_long("Code", 32), -EBADMSG);
}

static void any_damage_is_read_without_harm(void **state)
{
    static const char whole[] = XML "<Error><Code>SlowDown</Code><Message>a&lt;b</Message>"
                                    "<Part><PartNumber>1</PartNumber><Size>2</Size><ETag>x</ETag>"
                                    "</Part><UploadId>x</UploadId></Error>";
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 50000; round++) {
        size_t size = (size_t)rand_r(&seed) % sizeof(whole);
        char *exact = malloc(size + 1);

        memcpy(exact, whole, size);
        for (int i = 0; i < 3 && size > 0; i++)
            exact[(size_t)rand_r(&seed) % size] = (char)rand_r(&seed);
        exact = realloc(exact, size > 0 ? size : 1);
        n_parts = 0;
        s3_reply_parse(exact, size, on_part, NULL, &reply);
        free(exact);
    }
}

static void a_reply_means_an_errno_and_a_mend(void **state)
{
    struct s3_failure failure;

    (void)state;
    assert_int_equal(parse("<Error><Code>AccessDenied</Code><Message>Access Denied</Message>"
                           "</Error>"),
                     0);
    s3_failure_of_reply(403, &reply, "", &failure);
    assert_int_equal(failure.error, -EACCES);
    assert_false(failure.transient);
    assert_string_equal(failure.words,
                        "AccessDenied (403): Access Denied; the credentials need s3:PutObject and "
                        "s3:AbortMultipartUpload there");

    memset(&reply, 0, sizeof(reply));
    s3_failure_of_reply(503, &reply, "", &failure);
    assert_int_equal(failure.error, -EIO);
    assert_true(failure.transient);
    assert_string_equal(failure.words, "HTTP status 503");

    s3_failure_of_reply(301, &reply, "eu-west-1", &failure);
    assert_int_equal(failure.error, -EINVAL);
    assert_true(failure.is_elsewhere);
    assert_string_equal(failure.code, "");
    assert_string_equal(failure.words, "HTTP status 301; set AWS_REGION to eu-west-1");

    assert_int_equal(parse("<Error><Code>SlowDown</Code></Error>"), 0);
    s3_failure_of_reply(503, &reply, "", &failure);
    assert_true(failure.transient);
    assert_false(failure.is_elsewhere);
    assert_string_equal(failure.code, "SlowDown");
    assert_string_equal(failure.words, "SlowDown (503)");

    memset(&reply, 0, sizeof(reply));
    s3_failure_of_reply(418, &reply, "", &failure);
    assert_int_equal(failure.error, -EIO);
    assert_false(failure.transient);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_read),
        cmocka_unit_test(an_upload_id_is_read_as_written),
        cmocka_unit_test(the_parts_of_an_upload_are_read),
        cmocka_unit_test(a_part_without_a_number_or_size_is_refused),
        cmocka_unit_test(only_direct_children_of_the_root_count),
        cmocka_unit_test(white_space_before_the_document_is_passed_over),
        cmocka_unit_test(what_is_no_document_leaves_nothing),
        cmocka_unit_test(a_document_type_is_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(a_message_is_cut_at_a_character_and_an_id_never),
        cmocka_unit_test(any_damage_is_read_without_harm),
        cmocka_unit_test(a_reply_means_an_errno_and_a_mend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
