/* crash.json, read back by who didn't write it. */

#include <stdio.h>

#include "bundle_memory_sink.h"

#include "bundle/account.h"
#include "bundle/json_write.h"
#include "util/cleanup.h"

#define ID "issue_2026-11-21T093000_host_run"

#define FATE                                                                                       \
    "{\"file\":null,\"size\":null,\"sha256\":null,\"in_cores_dir\":null,"                          \
    "\"in_s3\":null,\"error\":null,\"more\":7}"
#define EARLY                                                                                      \
    "{\"version\":1,\"id\":\"" ID "\",\"complete\":false,\"uptime\":1.5,\"artifacts\":{"           \
    "\"stacktrace\":" FATE ",\"core\":" FATE ",\"executable\":" FATE ",\"libs\":" FATE "}}"

static json_t *parse(const char *text)
{
    json_t *account = NULL;

    assert_int_equal(account_parse(text, strlen(text), ID, &account), 0);
    return account;
}

static void an_account_is_read_told_more_and_written_again(void **unused)
{
    (void)unused;
    _cleanup_account_ json_t *account = parse(EARLY), *again = NULL;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    const struct artifact sent = {.made = true, .size = 12, .sha256 = "ab", .in_s3 = true};
    const struct artifact lost = {.in_cores_dir = true, .error = "the collector was killed"};
    struct artifact found;

    assert_false(account_is_complete(account));
    assert_int_equal(account_set(account, ARTIFACT_CORE, &sent), 0);
    assert_int_equal(account_set(account, ARTIFACT_LIBS, &lost), 0);
    assert_int_equal(account_complete(account), 0);
    assert_int_equal(json_write(account, sink), 0);

    assert_int_equal(account_parse((const char *)memory->data, memory->size, ID, &again), 0);
    assert_true(account_is_complete(again));
    account_get(again, ARTIFACT_CORE, &found);
    assert_true(found.made && found.in_s3 && !found.in_cores_dir);
    assert_int_equal(found.size, 12);
    assert_string_equal(found.sha256, "ab");
    assert_string_equal(found.error, "");
    account_get(again, ARTIFACT_LIBS, &found);
    assert_true(!found.made && !found.in_s3 && found.in_cores_dir);
    assert_string_equal(found.error, "the collector was killed");
}

static void a_file_is_named_after_the_bundle_whatever_the_account_named(void **unused)
{
    (void)unused;
    _cleanup_account_ json_t *account = parse(EARLY);
    json_t *core = json_object_get(json_object_get(account, "artifacts"), "core");
    const struct artifact made = {.made = true};

    json_object_set_new(core, "file", json_string("../../etc/shadow"));
    assert_int_equal(account_set(account, ARTIFACT_CORE, &made), 0);
    assert_string_equal(json_string_value(json_object_get(core, "file")), ID ".core.zip");
}

static void what_is_told_besides_stays(void **unused)
{
    (void)unused;
    _cleanup_account_ json_t *account = parse(EARLY);
    const struct artifact made = {.made = true};
    const json_t *core;

    assert_int_equal(account_set(account, ARTIFACT_CORE, &made), 0);
    core = json_object_get(json_object_get(account, "artifacts"), "core");
    assert_int_equal(json_integer_value(json_object_get(core, "more")), 7);
    assert_true(json_real_value(json_object_get(account, "uptime")) == 1.5);
}

static void what_is_no_account_of_this_bundle_is_refused(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{}",
        "\"" ID "\"",
        "{\"version\":1,\"id\":\"" ID "\",\"complete\":true}",
        "{\"version\":1,\"id\":\"" ID "\",\"complete\":true,\"artifacts\":[]}",
        "{\"version\":1,\"id\":\"" ID "\",\"complete\":true,\"artifacts\":{\"core\":{}}}",
        "{\"version\":1,\"version\":1}",
        "{\"version\":99999999999999999999}",
        EARLY "x",
    };
    json_t *account;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(account_parse(texts[i], strlen(texts[i]), ID, &account), -EBADMSG);
    assert_int_equal(account_parse(EARLY, strlen(EARLY), "another", &account), -EBADMSG);
}

static void an_account_that_is_cut_anywhere_is_refused(void **unused)
{
    (void)unused;
    json_t *account;

    for (size_t size = 0; size < strlen(EARLY); size++) {
        _cleanup_free_ char *cut = malloc(size + 1); /* so that reading on is seen */

        memcpy(cut, EARLY, size);
        assert_int_equal(account_parse(cut, size, ID, &account), -EBADMSG);
    }
}

static void an_account_that_is_too_large_is_not_even_parsed(void **unused)
{
    (void)unused;
    _cleanup_free_ char *text = malloc(ACCOUNT_MAX_BYTES + 1);
    json_t *account;

    assert_non_null(text);
    memset(text, ' ', ACCOUNT_MAX_BYTES + 1);
    memcpy(text, EARLY, strlen(EARLY));
    assert_int_equal(account_parse(text, ACCOUNT_MAX_BYTES + 1, ID, &account), -EFBIG);
    assert_int_equal(account_parse(text, ACCOUNT_MAX_BYTES, ID, &account), 0);
    json_decref(account);
}

static void an_account_of_nothing_but_brackets_is_refused(void **unused)
{
    (void)unused;
    _cleanup_free_ char *text = malloc(ACCOUNT_MAX_BYTES);
    json_t *account;

    assert_non_null(text);
    memset(text, '[', ACCOUNT_MAX_BYTES);
    assert_int_equal(account_parse(text, ACCOUNT_MAX_BYTES, ID, &account), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_is_read_told_more_and_written_again),
        cmocka_unit_test(a_file_is_named_after_the_bundle_whatever_the_account_named),
        cmocka_unit_test(what_is_told_besides_stays),
        cmocka_unit_test(what_is_no_account_of_this_bundle_is_refused),
        cmocka_unit_test(an_account_that_is_cut_anywhere_is_refused),
        cmocka_unit_test(an_account_that_is_too_large_is_not_even_parsed),
        cmocka_unit_test(an_account_of_nothing_but_brackets_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
