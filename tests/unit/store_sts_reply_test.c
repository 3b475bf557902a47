/* STS's replies. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/sts_reply.h"

static struct sts_reply reply;

static int parse(const char *text)
{
    const size_t size = strlen(text);
    char *exact = malloc(size); /* so that a sanitizer sees the first byte too many */
    int r;

    memcpy(exact, text, size);
    r = sts_reply_parse(exact, size, &reply);
    free(exact);
    return r;
}

#define ANSWER(credentials)                                                                        \
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n "                  \
    "<AssumeRoleResult>"                                                                           \
    "<AssumedRoleUser><AssumedRoleId>ARO:x</AssumedRoleId><Arn>arn</Arn></AssumedRoleUser>"        \
    "<Credentials>" credentials "</Credentials><PackedPolicySize>6</PackedPolicySize>"             \
    "</AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"             \
    "</AssumeRoleResponse>"

#define ID "<AccessKeyId>ASIA1</AccessKeyId>"
#define SECRET "<SecretAccessKey>a/b+c=</SecretAccessKey>"
#define TOKEN "<SessionToken>t&#43;1</SessionToken>"
#define TIME "<Expiration>2026-11-21T18:51:02Z</Expiration>"

static void a_roles_key_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse(ANSWER(ID SECRET TOKEN TIME)), 0);
    assert_string_equal(reply.code, "");
    assert_string_equal(reply.credentials.access_key_id, "ASIA1");
    assert_string_equal(reply.credentials.secret_access_key, "a/b+c=");
    assert_string_equal(reply.credentials.session_token, "t+1");
    assert_int_equal(reply.credentials.expires, 1795287062);
}

static void a_refusal_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse("<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
                           "<Message>not\nyou</Message></Error></ErrorResponse>"),
                     0);
    assert_string_equal(reply.code, "AccessDenied");
    assert_string_equal(reply.message, "not you");
    assert_string_equal(reply.credentials.access_key_id, "");
}

static void half_a_key_is_none(void **state)
{
    static const char *const halves[] = {
        ANSWER(SECRET TOKEN TIME),
        ANSWER(ID TOKEN TIME),
        ANSWER(ID SECRET TIME),
        ANSWER(ID SECRET TOKEN),
        ANSWER(ID SECRET TOKEN "<Expiration>soon</Expiration>"),
        ANSWER(ID "<SecretAccessKey>a b</SecretAccessKey>" TOKEN TIME),
        ANSWER("<AccessKeyId/>" SECRET TOKEN TIME),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++)
        assert_int_equal(parse(halves[i]), -EPROTO);
}

static void elements_count_below_their_parents_alone(void **state)
{
    (void)state;
    assert_int_equal(parse("<a>" ID SECRET TOKEN TIME "</a>"), -EPROTO);
    assert_int_equal(parse("<a><Code>x</Code></a>"), -EPROTO);
    assert_int_equal(parse("<Credentials><b>" ID SECRET TOKEN TIME "</b></Credentials>"), -EPROTO);
}

static void what_is_no_reply_is_refused(void **state)
{
    char long_id[1000] = "<Credentials><AccessKeyId>";
    char deep[200] = "";

    (void)state;
    assert_int_equal(parse(""), -EPROTO);
    assert_int_equal(parse("{\"a\": 1}"), -EPROTO);
    assert_int_equal(parse("<a><b></a>"), -EPROTO);
    assert_int_equal(parse("<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>"), -EPROTO);
    memset(long_id + strlen(long_id), 'A', 200);
    strcat(long_id, "</AccessKeyId></Credentials>");
    assert_int_equal(parse(long_id), -EPROTO);
    for (int i = 0; i < 17; i++)
        strcat(deep, "<a>");
    assert_int_equal(parse(deep), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_roles_key_is_read),
        cmocka_unit_test(a_refusal_is_read),
        cmocka_unit_test(half_a_key_is_none),
        cmocka_unit_test(elements_count_below_their_parents_alone),
        cmocka_unit_test(what_is_no_reply_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
