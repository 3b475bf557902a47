/* ZIP archives, by the readers that people have: Info-ZIP's unzip, libarchive's bsdtar (from a
 * file, and from a pipe, going forward only), Python's zipfile. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bundle/zip.h"
#include "util/cleanup.h"
#include "util/io.h"

#define GIB (1024ull * 1024 * 1024)

/* Sat 21 Nov 2026 09:30:00 UTC */
#define WHEN 1795253400

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

/*
 * A file whose middle is left out: only the first and what follows @keep_from is written, the rest
 * is a hole. That, and no digest, makes an archive of more than 4 GiB cheap.
 */
struct file_sink {
    struct sink sink;
    int fd;
    uint64_t keep_from;
    char path[64]; /* in /proc: the file has no name, so that it is gone with this program */
};

static int file_write(struct sink *sink, const void *data, size_t size)
{
    struct file_sink *file = (struct file_sink *)sink;

    if (sink->size > 0 && sink->size + size < file->keep_from)
        return lseek(file->fd, (off_t)size, SEEK_CUR) < 0 ? -errno : 0;
    return write_all(file->fd, data, size);
}

static int file_commit(struct sink *sink)
{
    (void)sink;
    return 0;
}

static void file_close(struct sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;

    close(file->fd);
    free(file);
}

static struct file_sink *file_sink(uint64_t keep_from)
{
    static const struct sink_ops ops = {file_write, file_commit, file_close};
    struct file_sink *file = calloc(1, sizeof(*file));

    assert_non_null(file);
    file->keep_from = keep_from;
    file->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(file->fd >= 0);
    snprintf(file->path, sizeof(file->path), "/proc/%d/fd/%d", getpid(), file->fd);
    assert_int_equal(sink_init(&file->sink, &ops), 0);
    assert_int_equal(EVP_DigestInit_ex(file->sink.hash, EVP_md_null(), NULL), 1);
    return file;
}

/* Starts a command that reads the archive at @path. */
static pid_t start(const char *path, const char *const argv[])
{
    extern char **environ;
    posix_spawn_file_actions_t actions;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

#define START(path, ...) start(path, (const char *const[]){__VA_ARGS__, NULL})

static void assert_success(pid_t pid, const char *reader)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s calls it no good archive: status 0x%x", reader, status);
}

#define RUN(path, ...) assert_success(START(path, __VA_ARGS__), #__VA_ARGS__)

/* Side by side, as each takes its time over 4 GiB. bsdtar reads a pipe forward, by local headers
 * and descriptors alone; a file by its directory. */
static void every_reader_accepts(const char *path)
{
    const pid_t unzip = START(path, "unzip", "-tqq", path);
    const pid_t python = START(path, "/usr/bin/python3", "-m", "zipfile", "-t", path);
    const pid_t pipe = START(path, "sh", "-c", "cat | bsdtar -xOf - >/dev/null");
    const pid_t bsdtar = START(path, "bsdtar", "-tf", path);

    assert_success(unzip, "unzip");
    assert_success(python, "Python");
    assert_success(pipe, "bsdtar, reading a pipe,");
    assert_success(bsdtar, "bsdtar");
}

static void other_readers_accept_small_entries_of_every_kind(void **unused)
{
    (void)unused;
    struct file_sink *file = file_sink(0);
    _cleanup_sink_ struct sink *sink = &file->sink;
    _cleanup_zip_ struct zip *zip = NULL;
    _cleanup_free_ uint8_t *noise = malloc(1000000);

    fill_with_noise(noise, 1000000);
    assert_int_equal(zip_open(sink, 6, &zip), 0);
    assert_int_equal(zip_add_directory(zip, "usr/lib", S_IFDIR | 0755, WHEN), 0);
    add(zip, "empty", "", 0);
    add(zip, "usr/lib/one", "x", 1);
    add(zip, "noise", noise, 1000000);
    add(zip, "Größe-日本語-🐦", "unicode", 7);
    add(zip, "caf\xe9", "latin", 5);
    for (unsigned i = 0; i < 3; i++) {
        char name[32];

        snprintf(name, sizeof(name), "announced-%u", i);
        assert_int_equal(zip_entry_begin(zip, name, S_IFREG | 0600, WHEN, ZIP_SIZE_UNKNOWN), 0);
        assert_int_equal(zip_write(zip, noise, i * i * 1000), 0);
        assert_int_equal(zip_write_zeros(zip, i * 500000), 0);
        assert_int_equal(zip_entry_end(zip), 0);
    }
    assert_int_equal(zip_finish(zip), 0);
    every_reader_accepts(file->path);
}

/* No entry at all, which unzip warns of. */
static void other_readers_accept_an_empty_archive(void **unused)
{
    (void)unused;
    struct file_sink *file = file_sink(0);
    _cleanup_sink_ struct sink *sink = &file->sink;
    _cleanup_zip_ struct zip *zip = NULL;

    assert_int_equal(zip_open(sink, 6, &zip), 0);
    assert_int_equal(zip_finish(zip), 0);
    assert_int_equal(sink->size, 22);
    RUN(file->path, "/usr/bin/python3", "-m", "zipfile", "-t", file->path);
    RUN(file->path, "bsdtar", "-tf", file->path);
}

static void other_readers_accept_an_entry_of_more_than_4_gib(void **unused)
{
    (void)unused;
    struct file_sink *file = file_sink(0);
    _cleanup_sink_ struct sink *sink = &file->sink;
    _cleanup_zip_ struct zip *zip = NULL;
    _cleanup_free_ uint8_t *noise = malloc(10000000);

    fill_with_noise(noise, 10000000);
    assert_int_equal(zip_open(sink, 1, &zip), 0);
    add(zip, "before", "x", 1);
    assert_int_equal(zip_entry_begin(zip, "core", S_IFREG | 0600, WHEN, 5 * GIB), 0);
    assert_int_equal(zip_write(zip, noise, 10000000), 0);
    assert_int_equal(zip_write_zeros(zip, 2 * GIB + 12345), 0);
    assert_int_equal(zip_write(zip, noise, 10000000), 0);
    assert_int_equal(zip_write_zeros(zip, 2 * GIB), 0);
    assert_int_equal(zip_write(zip, noise, 10), 0);
    assert_int_equal(zip_entry_end(zip), 0);
    add(zip, "after", "y", 1);
    assert_int_equal(zip_finish(zip), 0);
    assert_in_range(sink->size, 20000000, 26000000);
    every_reader_accepts(file->path);
}

/*
 * 4 TiB of zeros are 4.2 GiB of deflate, so what follows lies behind the 4 GiB mark, as does the
 * central directory. The big entry itself is a hole in the file and can't be read.
 */
static void other_readers_find_what_lies_behind_4_gib(void **unused)
{
    (void)unused;
    struct file_sink *file = file_sink(4 * GIB);
    _cleanup_sink_ struct sink *sink = &file->sink;
    _cleanup_zip_ struct zip *zip = NULL;

    assert_int_equal(zip_open(sink, 1, &zip), 0);
    assert_int_equal(zip_entry_begin(zip, "huge", S_IFREG | 0600, WHEN, ZIP_SIZE_UNKNOWN), 0);
    assert_int_equal(zip_write_zeros(zip, 4096 * GIB), 0);
    assert_int_equal(zip_entry_end(zip), 0);
    assert_true(sink->size > 4 * GIB);
    add(zip, "behind", "found", 5);
    assert_int_equal(zip_finish(zip), 0);
    RUN(file->path, "unzip", "-tqq", file->path, "behind");
    RUN(file->path, "bsdtar", "-xOf", file->path, "behind");
    RUN(file->path, "/usr/bin/python3", "-c",
        "import sys, zipfile\n"
        "z = zipfile.ZipFile(sys.argv[1])\n"
        "assert z.namelist() == ['huge', 'behind']\n"
        "assert z.getinfo('huge').file_size == 4096 << 30\n"
        "assert z.getinfo('huge').compress_size > 4 << 30\n"
        "assert z.getinfo('behind').header_offset > 4 << 30\n"
        "assert z.read('behind') == b'found'\n",
        file->path);
}

static void other_readers_accept_more_than_65535_entries(void **unused)
{
    (void)unused;
    struct file_sink *file = file_sink(0);
    _cleanup_sink_ struct sink *sink = &file->sink;
    _cleanup_zip_ struct zip *zip = NULL;

    assert_int_equal(zip_open(sink, 1, &zip), 0);
    for (unsigned i = 0; i < 65600; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%u/%u", i % 100, i);
        add(zip, name, name, i % 2);
    }
    assert_int_equal(zip_finish(zip), 0);
    every_reader_accepts(file->path);
    RUN(file->path, "/usr/bin/python3", "-c",
        "import sys, zipfile\n"
        "assert len(zipfile.ZipFile(sys.argv[1]).namelist()) == 65600\n",
        file->path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_readers_accept_small_entries_of_every_kind),
        cmocka_unit_test(other_readers_accept_an_empty_archive),
        cmocka_unit_test(other_readers_accept_an_entry_of_more_than_4_gib),
        cmocka_unit_test(other_readers_find_what_lies_behind_4_gib),
        cmocka_unit_test(other_readers_accept_more_than_65535_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
