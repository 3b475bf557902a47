/* What every sink has in common: it counts and hashes what passed, and nothing else. */

#include <stddef.h>
#include <stdint.h>

#include "bundle_memory_sink.h"

/* FIPS 180-2's examples. */
#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA256_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void what_passes_is_counted_and_hashed(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    char sha256[65];

    assert_int_equal(sink_write(sink, "ab", 2), 0);
    assert_int_equal(sink_write(sink, "", 0), 0);
    assert_int_equal(sink_write(sink, "c", 1), 0);
    assert_int_equal(sink_commit(sink, sha256), 0);
    assert_int_equal(sink->size, 3);
    assert_string_equal(sha256, SHA256_OF_ABC);
    assert_memory_equal(memory->data, "abc", 3);
}

static void nothing_has_a_digest_too(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    char sha256[65];

    assert_int_equal(sink_commit(sink, sha256), 0);
    assert_int_equal(sink->size, 0);
    assert_string_equal(sha256, SHA256_OF_NOTHING);
}

static void what_was_refused_is_not_counted(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(2);
    _cleanup_sink_ struct sink *sink = &memory->sink;

    assert_int_equal(sink_write(sink, "ab", 2), 0);
    assert_int_equal(sink_write(sink, "c", 1), -ENOSPC);
    assert_int_equal(sink->size, 2);
}

static void closing_no_sink_is_fine(void **unused)
{
    (void)unused;
    sink_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_passes_is_counted_and_hashed),
        cmocka_unit_test(nothing_has_a_digest_too),
        cmocka_unit_test(what_was_refused_is_not_counted),
        cmocka_unit_test(closing_no_sink_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
