/* The CRCs, by the catalogue's check values and against the definition. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdlib.h>

#include "util/crc.h"

#define BYTES 1000

static const struct {
    enum crc_kind kind;
    uint64_t polynomial, ones, check; /* of "123456789" */
} kinds[] = {
    {CRC_64_NVME, 0x9a6c9329ac4bc9b5, UINT64_MAX, 0xae8b14860a799888},
    {CRC_32C, 0x82f63b78, UINT32_MAX, 0xe3069283},
    {CRC_32, 0xedb88320, UINT32_MAX, 0xcbf43926},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static unsigned char bytes[BYTES];

static int set_up(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)rand_r(&seed);
    return 0;
}

/* Bit by bit, as it is defined. */
static uint64_t by_definition(size_t kind, const unsigned char *data, size_t size)
{
    uint64_t value = kinds[kind].ones;

    for (size_t i = 0; i < 8 * size; i++) {
        unsigned bit = (unsigned)(value ^ (data[i / 8] >> i % 8)) & 1;

        value = (value >> 1) ^ (bit ? kinds[kind].polynomial : 0);
    }
    return value ^ kinds[kind].ones;
}

static void each_has_its_check_value(void **state)
{
    struct crc crc = {0};

    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        crc_init(&crc, kinds[i].kind);
        assert_int_equal(crc_update(&crc, 0, "123456789", 9), kinds[i].check);
        assert_int_equal(crc_update(&crc, 0, "", 0), 0);
    }
}

static void any_length_at_any_address_is_right(void **state)
{
    struct crc crc = {0};

    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        crc_init(&crc, kinds[i].kind);
        for (size_t from = 0; from < 9; from++)
            for (size_t size = 0; size < 70; size++)
                assert_int_equal(crc_update(&crc, 0, bytes + from, size),
                                 by_definition(i, bytes + from, size));
    }
}

static void pieces_make_the_same_as_the_whole(void **state)
{
    struct crc crc = {0};

    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        uint64_t whole;

        crc_init(&crc, kinds[i].kind);
        whole = crc_update(&crc, 0, bytes, BYTES);
        for (size_t cut = 0; cut <= BYTES; cut++) {
            uint64_t first = crc_update(&crc, 0, bytes, cut);
            uint64_t second = crc_update(&crc, 0, bytes + cut, BYTES - cut);

            assert_int_equal(crc_update(&crc, first, bytes + cut, BYTES - cut), whole);
            assert_int_equal(crc_combine(&crc, first, second, BYTES - cut), whole);
        }
    }
}

static void a_large_second_text_is_combined(void **state)
{
    static unsigned char zeros[1 << 20];
    struct crc crc = {0};
    uint64_t first, second, whole;

    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        crc_init(&crc, kinds[i].kind);
        first = crc_update(&crc, 0, bytes, BYTES);
        second = 0;
        whole = first;
        for (int n = 0; n < 5; n++) {
            second =
                crc_combine(&crc, second, crc_update(&crc, 0, zeros, sizeof(zeros)), sizeof(zeros));
            whole = crc_update(&crc, whole, zeros, sizeof(zeros));
        }
        assert_int_equal(crc_combine(&crc, first, second, 5 * sizeof(zeros)), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_check_value),
        cmocka_unit_test(any_length_at_any_address_is_right),
        cmocka_unit_test(pieces_make_the_same_as_the_whole),
        cmocka_unit_test(a_large_second_text_is_combined),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
