/* How an object is divided into parts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/s3_parts.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void a_small_file_has_parts_of_16_mib(void **state)
{
    (void)state;
    assert_int_equal(s3_file_part_bytes(S3_SINGLE_PUT_BYTES + 1), 16 * MIB);
    assert_int_equal(s3_file_part_bytes(10000 * 16 * MIB), 16 * MIB);
    assert_int_equal(s3_file_part_bytes(10000 * 16 * MIB + 1), 17 * MIB);
}

static void ten_thousand_parts_suffice_for_every_file(void **state)
{
    (void)state;
    for (uint64_t size = 1; size <= 10000 * 5 * GIB; size = size * 3 + 1) {
        uint64_t part = s3_file_part_bytes(size);

        assert_in_range(part, 8 * MIB, 5 * GIB);
        assert_true((size + part - 1) / part <= 10000);
    }
    assert_int_equal(s3_file_part_bytes(10000 * 5 * GIB), 5 * GIB);
    assert_int_equal(s3_file_part_bytes(10000 * 5 * GIB + 1), 0);
    assert_int_equal(s3_file_part_bytes(UINT64_MAX), 0);
}

static void a_streams_parts_grow_to_242_gib_in_all(void **state)
{
    uint64_t total = 0;
    size_t before = 0;

    (void)state;
    assert_int_equal(s3_stream_part_bytes(1), 8 * MIB);
    for (unsigned number = 1; number <= 10000; number++) {
        size_t part = s3_stream_part_bytes(number);

        assert_true(part >= before && part <= 32 * MIB);
        before = part;
        total += part;
    }
    assert_int_equal(s3_stream_part_bytes(10000), 32 * MIB);
    assert_int_equal(s3_stream_part_bytes(10001), 0);
    assert_int_equal(total / GIB, 242);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_has_parts_of_16_mib),
        cmocka_unit_test(ten_thousand_parts_suffice_for_every_file),
        cmocka_unit_test(a_streams_parts_grow_to_242_gib_in_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
