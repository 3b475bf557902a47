/* Memory between who makes an artifact and who sends it: bounded, whatever the artifact's size. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/part_buffers.h"
#include "store/s3_parts.h"

#define MIB ((size_t)1 << 20)

static size_t held(const struct part_buffers *buffers)
{
    size_t bytes = 0;

    for (size_t i = 0; i < PART_BUFFERS; i++)
        if (buffers->buffers[i].data)
            bytes += buffers->buffers[i].size;
    return bytes;
}

static void never_more_than_32_MiB_are_held(void **state)
{
    struct part_buffers buffers = {0};
    struct part_buffer *buffer;

    (void)state;
    for (unsigned number = 1; number <= S3_MAX_PARTS; number++) {
        int r = part_buffers_take(&buffers, number, &buffer);

        while (r == -EAGAIN) { /* the oldest is sent */
            part_buffers_give_back(&buffers, number - 2);
            part_buffers_give_back(&buffers, number - 1);
            r = part_buffers_take(&buffers, number, &buffer);
        }
        assert_int_equal(r, 0);
        assert_int_equal(buffer->size, s3_stream_part_bytes(number));
        assert_true(held(&buffers) <= 32 * MIB);
    }
    assert_int_equal(part_buffers_take(&buffers, S3_MAX_PARTS + 1, &buffer), -EFBIG);
    part_buffers_free(&buffers);
}

static void a_third_part_waits_until_one_is_given_back(void **state)
{
    struct part_buffers buffers = {0};
    struct part_buffer *first, *second, *third;

    (void)state;
    assert_int_equal(part_buffers_take(&buffers, 1, &first), 0);
    assert_int_equal(part_buffers_take(&buffers, 2, &second), 0);
    assert_int_equal(part_buffers_take(&buffers, 3, &third), -EAGAIN);
    assert_null(part_buffers_ready(&buffers, 1));
    first->is_ready = true;
    assert_ptr_equal(part_buffers_ready(&buffers, 1), first);
    part_buffers_give_back(&buffers, 1);
    assert_null(part_buffers_ready(&buffers, 1));
    assert_int_equal(part_buffers_take(&buffers, 3, &third), 0);
    assert_int_equal(third->used, 0);
    part_buffers_free(&buffers);
}

static void the_frugal_hold_one_part(void **state)
{
    struct part_buffers buffers = {.is_frugal = true};
    struct part_buffer *first, *second;

    (void)state;
    assert_int_equal(part_buffers_take(&buffers, 1, &first), 0);
    assert_int_equal(part_buffers_take(&buffers, 2, &second), -EAGAIN);
    part_buffers_give_back(&buffers, 1);
    assert_int_equal(part_buffers_take(&buffers, 2, &second), 0);
    assert_int_equal(held(&buffers), 8 * MIB);
    part_buffers_free(&buffers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_more_than_32_MiB_are_held),
        cmocka_unit_test(a_third_part_waits_until_one_is_given_back),
        cmocka_unit_test(the_frugal_hold_one_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
