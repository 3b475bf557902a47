/* Names of artifacts, from what people set as prefix, hostname and RUN_ID. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bundle/name.h"
#include "bundle/utf8.h"

/* Sat 21 Nov 2026 09:30:00 UTC */
#define WHEN 1795253400
#define DATE "2026-11-21T093000"

static void assert_id(const char *prefix, const char *host, const char *run, unsigned ordinal,
                      const char *expected)
{
    char id[256];

    assert_int_equal(bundle_id(prefix, WHEN, host, run, ordinal, id, sizeof(id)), 0);
    assert_string_equal(id, expected);
}

static void an_id_is_base_date_hostname_and_run_id(void **unused)
{
    (void)unused;
    assert_id("team-a/fluent-bit", "web-1", "r42", 1, "fluent-bit_" DATE "_web-1_r42");
    assert_id("issue", "web-1", "r42", 1, "issue_" DATE "_web-1_r42");
}

static void suffixes_are_those_others_scripts_know(void **unused)
{
    (void)unused;
    static const char *const suffixes[] = {".stacktrace", ".core.zip", ".executable", ".libs.zip",
                                           ".crash.json"};

    assert_int_equal(ARTIFACT_KINDS, 5);
    for (size_t i = 0; i < ARTIFACT_KINDS; i++)
        assert_string_equal(artifact_suffixes[i], suffixes[i]);
}

static void a_second_crash_of_the_same_second_gets_a_number(void **unused)
{
    (void)unused;
    assert_id("p", "h", "r", 2, "p_" DATE "_h_r-2");
    assert_id("p", "h", "r", 1000, "p_" DATE "_h_r-1000");
}

static void the_base_is_the_last_part_of_the_prefix_that_is_not_empty(void **unused)
{
    (void)unused;
    assert_id("a/b/c/", "h", "r", 1, "c_" DATE "_h_r");
    assert_id("a/b///", "h", "r", 1, "b_" DATE "_h_r");
    assert_id("/b", "h", "r", 1, "b_" DATE "_h_r");
    assert_id("", "h", "r", 1, "issue_" DATE "_h_r");
    assert_id("///", "h", "r", 1, "issue_" DATE "_h_r");
    assert_id("a/..", "h", "r", 1, ".._" DATE "_h_r");
    assert_id("a/my service+1", "h", "r", 1, "my service+1_" DATE "_h_r");
}

static void an_id_is_always_one_path_component(void **unused)
{
    (void)unused;
    assert_id("p", "../../etc/passwd", "a/b", 1, "p_" DATE "_.._.._etc_passwd_a_b");
    assert_id("p", "h\nost\x7f", "\x01\x1b[31m", 1, "p_" DATE "_h_ost____[31m");
    assert_id("a\tb", "/", "//", 1, "a_b_" DATE "_____");
    assert_id("p", "", "", 1, "p_" DATE "_unknown_unknown");
}

static void an_id_is_always_utf_8(void **unused)
{
    (void)unused;
    assert_id("größe", "日本", "🐦", 1, "größe_" DATE "_日本_🐦");
    assert_id("caf\xe9", "\xff\xfe", "\xc3", 1, "caf__" DATE "_____");
    assert_id("p", "\xed\xa0\x80", "\xc0\xaf", 1, "p_" DATE "_______");
}

static void the_longest_file_name_is_255_bytes(void **unused)
{
    (void)unused;
    char host[300], id[256], prefix[1025];

    /* Whatever the prefix, the name has room for the longest suffix and ".part". */
    memset(prefix, 'p', sizeof(prefix) - 1);
    prefix[sizeof(prefix) - 1] = '\0';
    assert_int_equal(bundle_id(prefix, WHEN, "h", "r", 1, id, sizeof(id)), 0);
    assert_int_equal(strlen(id) + strlen(".crash.json.part"), 255);
    assert_non_null(strstr(id, "p_" DATE "_h_r"));

    /* It is cut between characters. */
    for (size_t i = 0; i + 3 < sizeof(prefix); i += 3)
        memcpy(prefix + i, "日", 3);
    prefix[1023] = '\0';
    for (size_t i = 1; i <= 4; i++) {
        memset(host, 'h', sizeof(host));
        host[i] = '\0';
        assert_int_equal(bundle_id(prefix, WHEN, host, "r", 1, id, sizeof(id)), 0);
        assert_in_range(strlen(id), 237, 239);
        assert_true(utf8_is_valid(id, strlen(id)));
    }

    /* Something of the base is always left, or it is an error. */
    memset(host, 'h', sizeof(host));
    host[239 - strlen("b_" DATE "__r")] = '\0';
    assert_int_equal(bundle_id("base", WHEN, host, "r", 1, id, sizeof(id)), 0);
    assert_int_equal(strlen(id), 239);
    assert_int_equal(strncmp(id, "b_" DATE "_h", strlen("b_" DATE "_h")), 0);
    assert_int_equal(bundle_id("base", WHEN, host, "r", 2, id, sizeof(id)), -ENAMETOOLONG);
    host[strlen(host)] = 'h';
    host[299] = '\0';
    assert_int_equal(bundle_id("base", WHEN, host, "r", 1, id, sizeof(id)), -ENAMETOOLONG);
}

static void a_small_buffer_is_not_overrun(void **unused)
{
    (void)unused;
    char id[32];

    memset(id, '#', sizeof(id));
    assert_int_equal(bundle_id("prefix", WHEN, "h", "r", 1, id, 25), 0);
    assert_string_equal(id, "pr_" DATE "_h_r");
    assert_int_equal(id[25], '#');
    assert_int_equal(bundle_id("prefix", WHEN, "h", "r", 1, id, 23), -ENAMETOOLONG);
}

static void utf_8_is_told_from_bytes(void **unused)
{
    (void)unused;
    static const char *const valid[] = {"",
                                        "a",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "aé日🐦"};
    static const char *const invalid[] = {"\x80",
                                          "\xbf",
                                          "\xc0\xaf",
                                          "\xc1\xbf",
                                          "\xe0\x9f\xbf",
                                          "\xed\xa0\x80",
                                          "\xed\xbf\xbf",
                                          "\xf0\x8f\xbf",
                                          "\xf5",
                                          "\xf4\x90\x80\x80",
                                          "\xf0\x8f\xbf\xbf",
                                          "\xc3",
                                          "\xe6\x97",
                                          "\xff",
                                          "\xf0\x9f\x90",
                                          "\xc3(",
                                          "\xe6\x97(",
                                          "ok\xfe",
                                          "\xc3\xc3",
                                          "\xf0\x9f\x90\xc3"};

    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
        assert_true(utf8_is_valid(valid[i], strlen(valid[i])));
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
        assert_false(utf8_is_valid(invalid[i], strlen(invalid[i])));
    assert_false(utf8_is_valid("é", 1));
    assert_int_equal(utf8_character("é", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_base_date_hostname_and_run_id),
        cmocka_unit_test(suffixes_are_those_others_scripts_know),
        cmocka_unit_test(a_second_crash_of_the_same_second_gets_a_number),
        cmocka_unit_test(the_base_is_the_last_part_of_the_prefix_that_is_not_empty),
        cmocka_unit_test(an_id_is_always_one_path_component),
        cmocka_unit_test(an_id_is_always_utf_8),
        cmocka_unit_test(the_longest_file_name_is_255_bytes),
        cmocka_unit_test(a_small_buffer_is_not_overrun),
        cmocka_unit_test(utf_8_is_told_from_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
