/* Checksums of bodies, and of objects that are put together of parts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "store/s3_checksum.h"
#include "util/cleanup.h"
#include "util/io.h"

#define TEXT "123456789"
#define SHA256_OF_TEXT "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"

static struct crc crc;

static const struct {
    enum s3_algorithm algorithm;
    const char *of_text, *of_parts; /* "12345" and "6789" */
} sums[] = {
    {S3_CRC64NVME, "rosUhgp5mIg=", "rosUhgp5mIg="},
    {S3_CRC32C, "4waSgw==", "ZrDMrw==-2"},
    {S3_CRC32, "y/Q5Jg==", "4zspdQ==-2"},
    {S3_MD5, "JfnnlDI7RTiF9RgfG2JNCw==", "324730582f20c3f18cbb66d63a6137d2-2"},
};

static void a_body_in_memory_has_the_known_checksums(void **state)
{
    const struct s3_body body = {.data = TEXT, .fd = -1, .size = strlen(TEXT)};
    struct s3_digest digest;

    (void)state;
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        assert_int_equal(s3_digest_body(sums[i].algorithm, &crc, &body, &digest), 0);
        assert_string_equal(digest.text, sums[i].of_text);
        assert_string_equal(digest.sha256, SHA256_OF_TEXT);
    }
}

static void a_range_of_a_file_has_the_same(void **state)
{
    _cleanup_close_ int fd = memfd_create("body", MFD_CLOEXEC);
    const struct s3_body body = {.fd = fd, .offset = 70000, .size = strlen(TEXT)};
    const struct s3_body longer = {.fd = fd, .offset = 70000, .size = strlen(TEXT) + 1};
    struct s3_digest digest;

    (void)state;
    assert_int_equal(pwrite(fd, TEXT, strlen(TEXT), 70000), (ssize_t)strlen(TEXT));
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        assert_int_equal(s3_digest_body(sums[i].algorithm, &crc, &body, &digest), 0);
        assert_string_equal(digest.text, sums[i].of_text);
        assert_int_equal(s3_digest_body(sums[i].algorithm, &crc, &longer, &digest), -ENODATA);
    }
}

static void an_empty_body_has_one_too(void **state)
{
    const struct s3_body body = {.fd = -1};
    struct s3_digest digest;

    (void)state;
    assert_int_equal(s3_digest_body(S3_CRC64NVME, &crc, &body, &digest), 0);
    assert_string_equal(digest.text, "AAAAAAAAAAA=");
    assert_int_equal(s3_digest_body(S3_MD5, &crc, &body, &digest), 0);
    assert_string_equal(digest.text, "1B2M2Y8AsgTpgAmY7PhCfg==");
}

static void the_whole_is_made_of_its_parts(void **state)
{
    static const char *const texts[] = {"12345", "6789"};
    struct s3_part_sum parts[2];
    char checksum[S3_CHECKSUM_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        for (size_t n = 0; n < 2; n++) {
            const struct s3_body body = {.data = texts[n], .fd = -1, .size = strlen(texts[n])};
            struct s3_digest digest;

            assert_int_equal(s3_digest_body(sums[i].algorithm, &crc, &body, &digest), 0);
            parts[n].size = body.size;
            memcpy(parts[n].sum, digest.sum, sizeof(digest.sum));
        }
        assert_int_equal(s3_object_checksum(sums[i].algorithm, &crc, parts, 2, checksum), 0);
        assert_string_equal(checksum, sums[i].of_parts);
    }
}

static void the_longest_checksum_fits(void **state)
{
    static struct s3_part_sum parts[10000];
    char checksum[S3_CHECKSUM_TEXT];

    (void)state;
    assert_int_equal(s3_object_checksum(S3_MD5, &crc, parts, 10000, checksum), 0);
    assert_int_equal(strlen(checksum), 32 + strlen("-10000"));
    assert_int_equal(s3_object_checksum(S3_CRC64NVME, &crc, parts, 10000, checksum), 0);
    assert_int_equal(strlen(checksum), 12);
}

static void an_algorithm_is_found_by_its_name(void **state)
{
    (void)state;
    assert_int_equal(s3_algorithm_of("crc64nvme"), S3_CRC64NVME);
    assert_int_equal(s3_algorithm_of("CRC32C"), S3_CRC32C);
    assert_int_equal(s3_algorithm_of("md5"), S3_MD5);
    assert_int_equal(s3_algorithm_of("sha256"), S3_ALGORITHMS);
    assert_int_equal(s3_algorithm_of(""), S3_ALGORITHMS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_in_memory_has_the_known_checksums),
        cmocka_unit_test(a_range_of_a_file_has_the_same),
        cmocka_unit_test(an_empty_body_has_one_too),
        cmocka_unit_test(the_whole_is_made_of_its_parts),
        cmocka_unit_test(the_longest_checksum_fits),
        cmocka_unit_test(an_algorithm_is_found_by_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
