/* The JSON documents that credentials come in, and the times in them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/aws_document.h"
#include "store/aws_time.h"

static struct aws_credentials found;
static char why[512];

static int parse(const char *text, enum aws_document kind)
{
    const size_t size = strlen(text);
    char *exact = malloc(size); /* so that a sanitizer sees the first byte too many */
    int r;

    memcpy(exact, text, size);
    why[0] = '\0';
    r = aws_document_parse(exact, size, kind, &found, why, sizeof(why));
    free(exact);
    return r;
}

static void a_services_document_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"A\","
                           " \"SecretAccessKey\": \"S\", \"Token\": \"T\", \"More\": {\"a\": [1]},"
                           " \"Expiration\": \"1970-01-02T00:00:01Z\"}",
                           AWS_DOCUMENT_SERVICE),
                     0);
    assert_string_equal(found.access_key_id, "A");
    assert_string_equal(found.secret_access_key, "S");
    assert_string_equal(found.session_token, "T");
    assert_int_equal(found.expires, 86401);
}

static void a_process_may_give_a_lasting_key(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}",
                           AWS_DOCUMENT_PROCESS),
                     0);
    assert_string_equal(found.session_token, "");
    assert_int_equal(found.expires, 0);
    assert_int_equal(parse("{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
                           "\"SessionToken\":\"T\",\"Expiration\":\"1970-01-01T00:01:00+00:00\"}",
                           AWS_DOCUMENT_PROCESS),
                     0);
    assert_string_equal(found.session_token, "T");
    assert_int_equal(found.expires, 60);
}

#define KEY "\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"SECRET\""
#define TIME "\"Expiration\":\"2030-01-01T00:00:00Z\""

static void what_is_missing_or_wrong_is_refused_without_the_secret(void **state)
{
    static const struct {
        const char *text, *says;
        enum aws_document kind;
    } refused[] = {
        {"", "no JSON object", AWS_DOCUMENT_SERVICE},
        {"[]", "no JSON object", AWS_DOCUMENT_SERVICE},
        {"{" KEY, "no JSON object", AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\"," TIME "} more", "no JSON object", AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\"," TIME ",\"Token\":\"U\"}", "no JSON object",
         AWS_DOCUMENT_SERVICE},
        {"{" KEY "," TIME "}", "Token is missing", AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\"}", "Expiration is missing", AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\",\"Expiration\":\"soon\"}", "Expiration is no time",
         AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":7," TIME "}", "Token is missing", AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\\r\\nHost: x\"," TIME "}", "control character",
         AWS_DOCUMENT_SERVICE},
        {"{" KEY ",\"Token\":\"T\\u0000\"," TIME "}", "no JSON object", AWS_DOCUMENT_SERVICE},
        {"{" KEY "}", "Version isn't 1", AWS_DOCUMENT_PROCESS},
        {"{\"Version\":2," KEY "}", "Version isn't 1", AWS_DOCUMENT_PROCESS},
        {"{\"Version\":\"1\"," KEY "}", "Version isn't 1", AWS_DOCUMENT_PROCESS},
        {"{\"Version\":1,\"AccessKeyId\":\"A\"}", "SecretAccessKey is missing",
         AWS_DOCUMENT_PROCESS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(parse(refused[i].text, refused[i].kind), -EPROTO);
        assert_non_null(strstr(why, refused[i].says));
        assert_null(strstr(why, "SECRET"));
    }
}

static void a_value_that_is_too_long_is_refused(void **state)
{
    char text[16384], token[9000];

    (void)state;
    memset(token, 'T', sizeof(token) - 1);
    token[sizeof(token) - 1] = '\0';
    snprintf(text, sizeof(text), "{" KEY ",\"Token\":\"%s\"," TIME "}", token);
    assert_int_equal(parse(text, AWS_DOCUMENT_SERVICE), -EPROTO);
    assert_string_equal(why, "Token is too long");
    token[8192] = '\0';
    snprintf(text, sizeof(text), "{" KEY ",\"Token\":\"%s\"," TIME "}", token);
    assert_int_equal(parse(text, AWS_DOCUMENT_SERVICE), 0);
    assert_string_equal(found.session_token, token);
}

static void a_refusal_is_told_in_the_services_words(void **state)
{
    char words[256];
    static const char other[] = "{\"code\":\"AccessDenied\",\"message\":\"a\\nb\"}";

    (void)state;
    assert_int_equal(parse("{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"EC2 cannot "
                           "assume the role\"}",
                           AWS_DOCUMENT_SERVICE),
                     -EACCES);
    assert_non_null(strstr(why, "AssumeRoleUnauthorizedAccess: EC2 cannot assume the role"));
    aws_document_complaint(other, sizeof(other) - 1, words, sizeof(words));
    assert_string_equal(words, ": AccessDenied: a b");
    aws_document_complaint("<html>", 6, words, sizeof(words));
    assert_string_equal(words, "");
}

static void times_are_read_as_services_write_them(void **state)
{
    static const struct {
        const char *text;
        int64_t time; /* -1: refused */
    } times[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-21T18:51:02Z", 1795287062},
        {"2026-11-21T18:51:02.123Z", 1795287062},
        {"2026-11-21T19:51:02+01:00", 1795287062},
        {"2026-11-21T18:21:02-0030", 1795287062},
        {"2024-02-29T23:59:60Z", 1709251200},
        {"", -1},
        {"2026-11-21", -1},
        {"2026-11-21T18:51:02", -1},
        {"2026-11-21 18:51:02Z", -1},
        {"2026-11-21T18:51:02Zulu", -1},
        {"2026-13-21T18:51:02Z", -1},
        {"2026-11-21T24:51:02Z", -1},
        {"2026-11-21T18:51:02+1", -1},
        {"2026-11-21T18:51:02+01:0", -1},
        {"1969-11-21T18:51:02Z", -1},
        {"-026-11-21T18:51:02Z", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int64_t time = -1;

        assert_int_equal(aws_time_parse(times[i].text, &time), times[i].time < 0 ? -EINVAL : 0);
        assert_int_equal(time, times[i].time);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_services_document_is_read),
        cmocka_unit_test(a_process_may_give_a_lasting_key),
        cmocka_unit_test(what_is_missing_or_wrong_is_refused_without_the_secret),
        cmocka_unit_test(a_value_that_is_too_long_is_refused),
        cmocka_unit_test(a_refusal_is_told_in_the_services_words),
        cmocka_unit_test(times_are_read_as_services_write_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
