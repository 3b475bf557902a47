/* Signature Version 4, by the examples of the Amazon S3 API Reference ("Authenticating Requests:
 * Using the Authorization Header"), and the headers that it signs. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/s3_sign.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SCOPE "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"

/* 20130524T000000Z */
#define THEN 1369353600

static const struct aws_credentials credentials = {
    .access_key_id = "AKIAIOSFODNN7EXAMPLE",
    .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

static const char *value_of(const struct s3_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->n; i++)
        if (strcmp(headers->all[i].name, name) == 0)
            return headers->all[i].value;
    return "";
}

static void an_object_is_asked_for_as_in_the_example(void **state)
{
    const struct s3_signed_request request = {
        .method = "GET",
        .url = "https://examplebucket.s3.amazonaws.com/test.txt",
        .region = "us-east-1",
        .sha256 = EMPTY,
        .now = THEN,
    };
    _cleanup_s3_headers_ struct s3_headers headers = {0};

    (void)state;
    assert_int_equal(s3_headers_add(&headers, "range", "bytes=0-9"), 0);
    assert_int_equal(s3_sign(&request, &credentials, &headers), 0);
    assert_string_equal(value_of(&headers, "host"), "examplebucket.s3.amazonaws.com");
    assert_string_equal(value_of(&headers, "x-amz-date"), "20130524T000000Z");
    assert_string_equal(value_of(&headers, "authorization"), SCOPE
                        ", SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature="
                        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void an_object_is_put_as_in_the_example(void **state)
{
    const struct s3_signed_request request = {
        .method = "PUT",
        .url = "https://examplebucket.s3.amazonaws.com/test%24file.text",
        .region = "us-east-1",
        .sha256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        .now = THEN,
    };
    _cleanup_s3_headers_ struct s3_headers headers = {0};

    (void)state;
    assert_int_equal(s3_headers_add(&headers, "x-amz-storage-class", "REDUCED_REDUNDANCY"), 0);
    assert_int_equal(s3_headers_add(&headers, "date", "Fri, 24 May 2013 00:00:00 GMT"), 0);
    assert_int_equal(s3_sign(&request, &credentials, &headers), 0);
    assert_string_equal(value_of(&headers, "authorization"),
                        SCOPE ", SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;"
                              "x-amz-storage-class, Signature="
                              "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void a_query_is_signed_as_in_the_examples(void **state)
{
    static const struct {
        const char *url, *signature;
    } examples[] = {
        {"https://examplebucket.s3.amazonaws.com/?lifecycle=",
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        const struct s3_signed_request request = {.method = "GET",
                                                  .url = examples[i].url,
                                                  .region = "us-east-1",
                                                  .sha256 = EMPTY,
                                                  .now = THEN};
        _cleanup_s3_headers_ struct s3_headers headers = {0};

        assert_int_equal(s3_sign(&request, &credentials, &headers), 0);
        assert_non_null(strstr(value_of(&headers, "authorization"), examples[i].signature));
    }
}

static void what_is_no_url_is_not_signed(void **state)
{
    static const char *const wrong[] = {"", "host/path", "https://host", "https://host?query"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct s3_signed_request request = {
            .method = "GET", .url = wrong[i], .region = "us-east-1", .sha256 = EMPTY, .now = THEN};
        _cleanup_s3_headers_ struct s3_headers headers = {0};

        assert_int_equal(s3_sign(&request, &credentials, &headers), -EINVAL);
    }
}

/* Not with their values: '-' comes before ':'. */
static void headers_are_sorted_by_their_names(void **state)
{
    _cleanup_s3_headers_ struct s3_headers headers = {0};

    (void)state;
    assert_int_equal(s3_headers_add(&headers, "x-amz-server-side-encryption-aws-kms-key-id", "k"),
                     0);
    assert_int_equal(s3_headers_add(&headers, "x-amz-server-side-encryption", "aws:kms"), 0);
    assert_int_equal(s3_headers_add(&headers, "content-type", "text/plain"), 0);
    assert_int_equal(s3_headers_add(&headers, "x-amz-tagging", ""), 0);
    assert_int_equal(s3_headers_add(&headers, "x-amz-tagging", NULL), 0);
    assert_int_equal(headers.n, 3);
    assert_string_equal(headers.all[0].name, "content-type");
    assert_string_equal(headers.all[1].name, "x-amz-server-side-encryption");
    assert_string_equal(headers.all[2].name, "x-amz-server-side-encryption-aws-kms-key-id");
}

static void a_value_that_is_not_signed_as_it_stands_is_refused(void **state)
{
    static const char *const wrong[] = {" a",  "a ",        "a  b", "a\tb",
                                        "a\n", "a\r\nb: c", "\x7f", "\xc3\xa9"};
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    int r = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(s3_headers_add(&headers, "x-amz-tagging", wrong[i]), -EINVAL);
    assert_int_equal(headers.n, 0);
    for (int i = 0; i < S3_MAX_HEADERS; i++)
        assert_int_equal(s3_headers_add(&headers, "x-amz-tagging", "a b"), 0);
    r = s3_headers_add(&headers, "x-amz-tagging", "a b");
    assert_int_equal(r, -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_is_asked_for_as_in_the_example),
        cmocka_unit_test(an_object_is_put_as_in_the_example),
        cmocka_unit_test(a_query_is_signed_as_in_the_examples),
        cmocka_unit_test(what_is_no_url_is_not_signed),
        cmocka_unit_test(headers_are_sorted_by_their_names),
        cmocka_unit_test(a_value_that_is_not_signed_as_it_stands_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
