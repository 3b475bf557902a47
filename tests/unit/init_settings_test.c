/* What values the settings take. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "init/settings.h"

static struct options options;

/* By the name in the environment. Returns what is wrong with the value, NULL for nothing. */
static const char *set(const char *name, const char *value)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].environment && strcmp(settings[i].environment, name) == 0)
            return setting_set(&settings[i], &options, value);
    fail_msg("no setting %s", name);
    return NULL;
}

static void assert_all(const char *name, const char *const *values, bool are_taken)
{
    for (; *values; values++)
        if ((set(name, *values) == NULL) != are_taken)
            fail_msg("%s='%s' is%s taken", name, *values, are_taken ? " not" : "");
}

static void every_default_is_a_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].initial[0])
            assert_null(setting_set(&settings[i], &options, settings[i].initial));
}

static void a_size_is_in_bytes_or_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},           {"1", 1},
                 {"4096", 4096},     {"3K", 3072},
                 {"20m", 20u << 20}, {"10G", 10ull << 30},
                 {"2T", 2ull << 40}, {"9223372036854775807", INT64_MAX}};
    static const char *const wrong[] = {"",
                                        "-1",
                                        "1.5G",
                                        "G",
                                        "1KB",
                                        "1 K",
                                        "0x10",
                                        "1P",
                                        "8388608T",
                                        "9223372036854775808",
                                        "99999999999999999999",
                                        NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_null(set("COREINIT_MAX_USE", sizes[i].text));
        assert_int_equal(options.settings.max_use, sizes[i].bytes);
    }
    assert_all("COREINIT_MAX_USE", wrong, false);
    assert_all("COREINIT_KEEP_FREE", wrong, false);
    assert_all("COREINIT_UPLOAD_RATE", wrong, false);
}

static void a_wrong_value_changes_nothing(void **state)
{
    (void)state;
    assert_null(set("COREINIT_MAX_FILES", "7"));
    assert_non_null(set("COREINIT_MAX_FILES", "4294967296"));
    assert_int_equal(options.settings.max_files, 7);
    assert_null(set("COREINIT_ON_CRASH", "linger"));
    assert_non_null(set("COREINIT_ON_CRASH", "reboot"));
    assert_int_equal(options.on_crash, ON_CRASH_LINGER);
}

static void no_cores_dir_is_an_empty_one(void **state)
{
    static const char *const wrong[] = {"", "None", "cores", "./none", NULL};

    (void)state;
    assert_null(set("COREINIT_CORES_DIR", "none"));
    assert_string_equal(options.settings.cores_dir, "");
    assert_null(set("COREINIT_CORES_DIR", "/none"));
    assert_string_equal(options.settings.cores_dir, "/none");
    assert_all("COREINIT_CORES_DIR", wrong, false);
}

static void words_are_taken_as_they_are_written(void **state)
{
    static const struct {
        const char *name, *taken[4], *wrong[4];
    } words[] = {
        {"S3_SSE", {"AES256", "aws:kms", "aws:kms:dsse"}, {"aes256", "", "aws"}},
        {"S3_CHECKSUM", {"auto", "crc64nvme", "md5"}, {"sha256", "CRC32", ""}},
        {"S3_REQUEST_PAYER", {"requester"}, {"me", ""}},
        {"S3_ALLOW_HTTP", {"no", "yes"}, {"1", "true", ""}},
        {"S3_STORAGE_CLASS", {"STANDARD_IA", "GLACIER", "cold-1"}, {"", "A B", "A\r\nB"}},
        {"S3_EXPECTED_BUCKET_OWNER",
         {"123456789012"},
         {"12345678901", "1234567890123", "12345678901x"}},
        {"S3_SSE_KMS_KEY_ID",
         {"arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab", "alias/cores"},
         {"", "a b", "a\nb"}},
        {"COREINIT_REPORT", {"crashes", "exits"}, {"all", ""}},
        {"COREINIT_KEEP_LOCAL", {"always", "until-sent", "never"}, {"yes", ""}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_all(words[i].name, words[i].taken, true);
        assert_all(words[i].name, words[i].wrong, false);
    }
    assert_int_equal(options.settings.keep_local, KEEP_NEVER);
    assert_true(options.settings.allow_http);
}

static void tags_are_ready_to_be_sent(void **state)
{
    static const char *const taken[] = {"a=b",
                                        "team=logs&env=prod",
                                        "a=",
                                        "path=%2Ftmp%2Fx&b=c+d",
                                        "1=1&2=2&3=3&4=4&5=5&6=6&7=7&8=8&9=9&10=10",
                                        NULL};
    static const char *const wrong[] = {
        "",        "a",
        "=b",      "a=b&",
        "&a=b",    "a=b=c",
        "a=b c",   "a=%2",
        "a=%zz",   "a=b\r\nx-amz-acl: public",
        "a=\"b\"", "1=1&2=2&3=3&4=4&5=5&6=6&7=7&8=8&9=9&10=10&11=11",
        NULL};
    char tag[1024];

    (void)state;
    assert_all("S3_TAGS", taken, true);
    assert_all("S3_TAGS", wrong, false);
    snprintf(tag, sizeof(tag), "%0128d=%0256d", 0, 0);
    assert_null(set("S3_TAGS", tag));
    assert_string_equal(options.settings.tags, tag);
    snprintf(tag, sizeof(tag), "%0129d=x", 0);
    assert_non_null(set("S3_TAGS", tag));
    snprintf(tag, sizeof(tag), "x=%0257d", 0);
    assert_non_null(set("S3_TAGS", tag));
}

static void numbers_have_their_limits(void **state)
{
    (void)state;
    assert_null(set("COREINIT_RESTART_LIMIT", "100"));
    assert_non_null(set("COREINIT_RESTART_LIMIT", "101"));
    assert_null(set("COREINIT_LINGER_MINUTES", "10080"));
    assert_non_null(set("COREINIT_LINGER_MINUTES", "10081"));
    assert_null(set("COREINIT_STOP_TIMEOUT", "0"));
    assert_non_null(set("COREINIT_STOP_TIMEOUT", "604801"));
    assert_non_null(set("COREINIT_STOP_TIMEOUT", "30s"));
    assert_non_null(set("COREINIT_STOP_TIMEOUT", "-1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_a_value),
        cmocka_unit_test(a_size_is_in_bytes_or_binary_units),
        cmocka_unit_test(a_wrong_value_changes_nothing),
        cmocka_unit_test(no_cores_dir_is_an_empty_one),
        cmocka_unit_test(words_are_taken_as_they_are_written),
        cmocka_unit_test(tags_are_ready_to_be_sent),
        cmocka_unit_test(numbers_have_their_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
