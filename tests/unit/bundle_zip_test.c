/* ZIP archives, by a reader of our own that follows APPNOTE to the letter. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <zlib.h>

#include "bundle_memory_sink.h"

#include "bundle/zip.h"
#include "util/cleanup.h"

#define GIB (1024ull * 1024 * 1024)

/* Sat 21 Nov 2026 09:30:00 UTC */
#define WHEN 1795253400

/* What one central header says. */
struct found {
    char name[512];
    unsigned made_by, version, flags, method, dos_time, dos_date;
    uint32_t crc, attributes;
    uint64_t compressed, size, offset;
    bool has_zip64;
    int64_t mtime;
};

static uint64_t get(const uint8_t *at, size_t size)
{
    uint64_t value = 0;

    while (size-- > 0)
        value = value << 8 | at[size];
    return value;
}

/* The fields of a ZIP64 extra field, taken in order by those that ask for one (4.5.3). */
static uint64_t overruled(uint64_t value, const uint8_t **zip64)
{
    if (value != 0xffffffff)
        return value;
    assert_non_null(*zip64);
    *zip64 += 8;
    return get(*zip64 - 8, 8);
}

static const uint8_t *find_extra(const uint8_t *extra, size_t size, unsigned id)
{
    for (size_t at = 0; at + 4 <= size; at += 4 + get(extra + at + 2, 2))
        if (get(extra + at, 2) == id)
            return extra + at + 4;
    return NULL;
}

/* Reads one central header; returns where the next one begins. */
static const uint8_t *read_central(const uint8_t *at, struct found *ret)
{
    size_t name_size = get(at + 28, 2), extra_size = get(at + 30, 2);
    const uint8_t *extra = at + 46 + name_size;
    const uint8_t *zip64 = find_extra(extra, extra_size, 0x0001);
    const uint8_t *time = find_extra(extra, extra_size, 0x5455);

    assert_int_equal(get(at, 4), 0x02014b50);
    assert_true(name_size < sizeof(ret->name));
    *ret = (struct found){
        .made_by = (unsigned)get(at + 4, 2),
        .version = (unsigned)get(at + 6, 2),
        .flags = (unsigned)get(at + 8, 2),
        .method = (unsigned)get(at + 10, 2),
        .dos_time = (unsigned)get(at + 12, 2),
        .dos_date = (unsigned)get(at + 14, 2),
        .crc = (uint32_t)get(at + 16, 4),
        .attributes = (uint32_t)get(at + 38, 4),
        .has_zip64 = zip64 != NULL,
        .mtime = time ? (int32_t)get(time + 1, 4) : INT64_MIN,
    };
    ret->size = overruled(get(at + 24, 4), &zip64);
    ret->compressed = overruled(get(at + 20, 4), &zip64);
    ret->offset = overruled(get(at + 42, 4), &zip64);
    memcpy(ret->name, at + 46, name_size);
    return extra + extra_size + get(at + 32, 2);
}

/* Inflates the entry that @found tells of and holds it against its sizes, its CRC, its local header
 * and its data descriptor. Returns its bytes, to be freed. */
static uint8_t *read_entry(const uint8_t *archive, const struct found *found)
{
    const uint8_t *local = archive + found->offset;
    size_t name_size = get(local + 26, 2), extra_size = get(local + 28, 2);
    const uint8_t *extra = local + 30 + name_size;
    const uint8_t *data = extra + extra_size, *descriptor = data + found->compressed;
    const uint8_t *zip64 = find_extra(extra, extra_size, 0x0001);
    uint8_t *content = malloc(found->size + 1);
    z_stream stream = {.next_in = (uint8_t *)data,
                       .avail_in = (uInt)found->compressed,
                       .next_out = content,
                       .avail_out = (uInt)found->size + 1};

    assert_int_equal(get(local, 4), 0x04034b50);
    assert_int_equal(get(local + 4, 2), found->version);
    assert_int_equal(get(local + 6, 2), found->flags);
    assert_int_equal(get(local + 8, 2), found->method);
    assert_memory_equal(local + 30, found->name, name_size);
    assert_int_equal(get(local + 14, 4), 0);
    assert_int_equal(get(local + 18, 4), zip64 ? 0xffffffff : 0);
    assert_int_equal(get(local + 22, 4), zip64 ? 0xffffffff : 0);

    assert_int_equal(inflateInit2(&stream, -MAX_WBITS), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, found->size);
    inflateEnd(&stream);
    assert_int_equal(crc32_z(0, content, found->size), found->crc);

    assert_int_equal(get(descriptor, 4), 0x08074b50);
    assert_int_equal(get(descriptor + 4, 4), found->crc);
    assert_int_equal(get(descriptor + 8, zip64 ? 8 : 4), found->compressed);
    assert_int_equal(get(descriptor + (zip64 ? 16 : 12), zip64 ? 8 : 4), found->size);
    return content;
}

/* Reads a whole archive's directory. Returns the number of entries. */
static size_t read_directory(const struct memory_sink *memory, struct found *ret, size_t max)
{
    const uint8_t *end = memory->data + memory->size - 22, *at;
    size_t n = get(end + 10, 2);

    assert_int_equal(get(end, 4), 0x06054b50);
    assert_int_equal(get(end + 8, 2), n);
    assert_true(n <= max);
    at = memory->data + get(end + 16, 4);
    assert_ptr_equal(at + get(end + 12, 4), end);
    for (size_t i = 0; i < n; i++)
        at = read_central(at, &ret[i]);
    assert_ptr_equal(at, end);
    return n;
}

static void add(struct zip *zip, const char *name, const void *data, size_t size)
{
    assert_int_equal(zip_entry_begin(zip, name, S_IFREG | 0644, WHEN, size), 0);
    assert_int_equal(zip_write(zip, data, size), 0);
    assert_int_equal(zip_entry_end(zip), 0);
}

/* Bytes that don't compress, the same each time. */
static void fill_with_noise(uint8_t *data, size_t size)
{
    uint64_t state = 88172645463325252ull;

    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data[i] = (uint8_t)state;
    }
}

static void an_entry_reads_back_as_it_was_written(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {0, 1, 4096, 65536, 1000003};
    _cleanup_free_ uint8_t *noise = malloc(1000003);

    fill_with_noise(noise, 1000003);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct memory_sink *memory = memory_sink(0);
        _cleanup_sink_ struct sink *sink = &memory->sink;
        _cleanup_zip_ struct zip *zip = NULL;
        struct found found[1];

        assert_int_equal(zip_open(sink, 6, &zip), 0);
        add(zip, "dir/núm\xc3\xa9ro", noise, sizes[i]);
        assert_int_equal(zip_finish(zip), 0);
        assert_int_equal(read_directory(memory, found, 1), 1);
        assert_string_equal(found[0].name, "dir/núm\xc3\xa9ro");
        assert_int_equal(found[0].size, sizes[i]);
        _cleanup_free_ uint8_t *content = read_entry(memory->data, &found[0]);
        assert_memory_equal(content, noise, sizes[i]);
    }
}

static void headers_say_what_the_entry_is(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    _cleanup_zip_ struct zip *zip = NULL;
    struct found found[3];

    assert_int_equal(zip_open(sink, 1, &zip), 0);
    assert_int_equal(zip_entry_begin(zip, "a", S_IFREG | 0750, WHEN, 0), 0);
    assert_int_equal(zip_entry_end(zip), 0);
    assert_int_equal(zip_add_directory(zip, "d", S_IFDIR | 0755, WHEN), 0);
    assert_int_equal(zip_entry_begin(zip, "caf\xe9", S_IFREG | 0600, -1000000000000, 0), 0);
    assert_int_equal(zip_entry_end(zip), 0);
    assert_int_equal(zip_finish(zip), 0);
    assert_int_equal(read_directory(memory, found, 3), 3);

    assert_int_equal(found[0].flags, 1 << 3 | 1 << 11);
    assert_int_equal(found[0].method, 8);
    assert_int_equal(found[0].version, 20);
    assert_int_equal(found[0].made_by >> 8, 3);
    assert_int_equal(found[0].attributes, (uint32_t)(S_IFREG | 0750) << 16);
    assert_int_equal(found[0].mtime, WHEN);
    assert_int_equal(found[0].dos_date, (2026 - 1980) << 9 | 11 << 5 | 21);
    assert_int_equal(found[0].dos_time, 9 << 11 | 30 << 5);

    /* A directory holds nothing, and says so in its local header: no descriptor. */
    assert_string_equal(found[1].name, "d/");
    assert_int_equal(found[1].flags, 1 << 11);
    assert_int_equal(found[1].method, 0);
    assert_int_equal(found[1].attributes, (uint32_t)(S_IFDIR | 0755) << 16 | 0x10);

    /* No UTF-8, so it isn't called that; no such time in either format. */
    assert_int_equal(found[2].flags, 1 << 3);
    assert_int_equal(found[2].mtime, INT64_MIN);
    assert_int_equal(found[2].dos_date, 0 << 9 | 1 << 5 | 1);
}

static void only_what_may_pass_4_gib_is_announced_as_zip64(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t max_size;
        unsigned version;
    } cases[] = {{0, 20}, {3 * GIB, 20}, {4 * GIB - 1, 45}, {4 * GIB, 45}, {ZIP_SIZE_UNKNOWN, 45}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct memory_sink *memory = memory_sink(0);
        _cleanup_sink_ struct sink *sink = &memory->sink;
        _cleanup_zip_ struct zip *zip = NULL;
        struct found found[1];

        assert_int_equal(zip_open(sink, 1, &zip), 0);
        assert_int_equal(zip_entry_begin(zip, "e", S_IFREG | 0644, WHEN, cases[i].max_size), 0);
        assert_int_equal(zip_write(zip, "x", 1), 0);
        assert_int_equal(zip_entry_end(zip), 0);
        assert_int_equal(zip_finish(zip), 0);
        assert_int_equal(read_directory(memory, found, 1), 1);
        assert_int_equal(found[0].version, cases[i].version);
        assert_false(found[0].has_zip64);
        free(read_entry(memory->data, &found[0])); /* holds header and descriptor together */
    }
}

static void an_entry_that_outgrows_its_announcement_is_refused(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    _cleanup_zip_ struct zip *zip = NULL;

    assert_int_equal(zip_open(sink, 1, &zip), 0);
    assert_int_equal(zip_entry_begin(zip, "e", S_IFREG | 0644, WHEN, 1000), 0);
    assert_int_equal(zip_write_zeros(zip, 4 * GIB - 2), 0);
    assert_int_equal(zip_write(zip, "x", 1), -EFBIG);
    assert_int_equal(zip_entry_end(zip), -EFBIG);
    assert_int_equal(zip_finish(zip), -EFBIG);
}

static void unsafe_names_are_refused_and_the_archive_goes_on(void **unused)
{
    (void)unused;
    static const char *const names[] = {"",     "/",         "/a", "..",    "../a",
                                        "a/..", "a/../../b", "a/", "a/b//", "a//.."};
    static const char *const fine[] = {"...", "a/..b", "..a", "a..", "a/...", "a/b"};
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    _cleanup_zip_ struct zip *zip = NULL;
    _cleanup_free_ char *long_name = malloc(65536);
    struct found found[6];

    memset(long_name, 'n', 65535);
    long_name[65535] = '\0';
    assert_int_equal(zip_open(sink, 1, &zip), 0);
    assert_int_equal(zip_entry_begin(zip, long_name, S_IFREG, WHEN, 0), -EINVAL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(zip_entry_begin(zip, names[i], S_IFREG | 0644, WHEN, 0), -EINVAL);
        assert_int_equal(zip_add_directory(zip, names[i], S_IFDIR | 0755, WHEN), -EINVAL);
    }
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        add(zip, fine[i], "x", 1);
    assert_int_equal(zip_finish(zip), 0);
    assert_int_equal(read_directory(memory, found, 6), 6);
}

static void only_deflate_levels_are_taken(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    struct zip *zip;

    assert_int_equal(zip_open(sink, 0, &zip), -EINVAL);
    assert_int_equal(zip_open(sink, 10, &zip), -EINVAL);
}

/* The same content twice: zeros by the quick way, and as any other bytes. */
static void quick_zeros_are_the_same_zeros(void **unused)
{
    (void)unused;
    /* data, zeros, data, zeros, …: below, at and above the block, one after the other, and first
     */
    static const size_t runs[][6] = {
        {0, 262144, 0, 0, 0, 0},
        {0, 262143, 5, 262145, 0, 0},
        {7, 1 << 20, 70000, 4096, 3, 3000000},
        {1000, 262144 * 3, 0, 262144 + 1, 1, 1},
        {0, 0, 1, 600000, 1, 600000},
    };
    _cleanup_free_ uint8_t *noise = malloc(100000);

    fill_with_noise(noise, 100000);
    for (int level = 1; level <= 9; level++) {
        struct memory_sink *memory = memory_sink(0);
        _cleanup_sink_ struct sink *sink = &memory->sink;
        _cleanup_zip_ struct zip *zip = NULL;
        struct found found[5];

        assert_int_equal(zip_open(sink, level, &zip), 0);
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(zip_entry_begin(zip, "e", S_IFREG | 0644, WHEN, 1 << 24), 0);
            for (size_t k = 0; k < 6; k += 2) {
                assert_int_equal(zip_write(zip, noise, runs[i][k]), 0);
                assert_int_equal(zip_write_zeros(zip, runs[i][k + 1]), 0);
            }
            assert_int_equal(zip_entry_end(zip), 0);
        }
        assert_int_equal(zip_finish(zip), 0);
        assert_int_equal(read_directory(memory, found, 5), 5);
        for (size_t i = 0; i < 5; i++) {
            _cleanup_free_ uint8_t *content = read_entry(memory->data, &found[i]);
            uint8_t *at = content;

            for (size_t k = 0; k < 6; k += 2) {
                assert_memory_equal(at, noise, runs[i][k]);
                at += runs[i][k];
                for (size_t zeros = runs[i][k + 1]; zeros > 0; zeros--)
                    assert_true(*at++ == 0);
            }
            assert_int_equal(at - content, found[i].size);
        }
    }
}

/* Every write of the sink fails in turn: it is always told, and it sticks. */
static void a_failing_sink_is_always_told(void **unused)
{
    (void)unused;
    _cleanup_free_ uint8_t *noise = malloc(300000);
    int last = -ENOSPC;

    fill_with_noise(noise, 300000);
    for (unsigned fail_at = 1; last != 0; fail_at++) {
        struct memory_sink *memory = memory_sink(fail_at);
        _cleanup_sink_ struct sink *sink = &memory->sink;
        _cleanup_zip_ struct zip *zip = NULL;
        int results[8];

        assert_int_equal(zip_open(sink, 1, &zip), 0);
        results[0] = zip_entry_begin(zip, "one", S_IFREG | 0644, WHEN, ZIP_SIZE_UNKNOWN);
        results[1] = zip_write(zip, noise, 300000);
        results[2] = zip_write_zeros(zip, 200 * 1024 * 1024);
        results[3] = zip_entry_end(zip);
        results[4] = zip_add_directory(zip, "two", S_IFDIR | 0755, WHEN);
        results[5] = zip_entry_begin(zip, "three", S_IFREG | 0644, WHEN, 1);
        results[6] = results[5] == 0 ? zip_entry_end(zip) : results[5];
        results[7] = zip_finish(zip);
        for (size_t i = 0; i < 8; i++) {
            assert_true(results[i] == 0 || results[i] == -ENOSPC);
            assert_true(i == 0 || results[i] <= results[i - 1]);
        }
        last = results[7];
        if (last == 0)
            assert_true(fail_at > 8 && memory->writes < fail_at);
    }
}

static void an_archive_left_unfinished_is_freed(void **unused)
{
    (void)unused;
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    _cleanup_zip_ struct zip *zip = NULL;

    assert_int_equal(zip_open(sink, 1, &zip), 0);
    add(zip, "a", "x", 1);
    assert_int_equal(zip_entry_begin(zip, "b", S_IFREG | 0644, WHEN, 1), 0);
    assert_int_equal(zip_entry_begin(zip, "c", S_IFREG | 0644, WHEN, 1), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_reads_back_as_it_was_written),
        cmocka_unit_test(headers_say_what_the_entry_is),
        cmocka_unit_test(only_what_may_pass_4_gib_is_announced_as_zip64),
        cmocka_unit_test(an_entry_that_outgrows_its_announcement_is_refused),
        cmocka_unit_test(unsafe_names_are_refused_and_the_archive_goes_on),
        cmocka_unit_test(only_deflate_levels_are_taken),
        cmocka_unit_test(quick_zeros_are_the_same_zeros),
        cmocka_unit_test(a_failing_sink_is_always_told),
        cmocka_unit_test(an_archive_left_unfinished_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
