/* The spool directory, in a directory of its own per test. */

#include <sched.h>
#include <sys/mount.h>

#include "store_spool_testing.h"

static void a_missing_directory_is_made_for_the_owner_alone(void **state)
{
    struct spool *spool;
    struct stat file;

    (void)state;
    assert_int_equal(spool_open("new//", &spool), 0);
    spool_close(spool);
    assert_int_equal(stat("new", &file), 0);
    assert_int_equal(file.st_mode, S_IFDIR | 0700);
}

static void nothing_above_the_directory_is_made(void **state)
{
    struct spool *spool;

    (void)state;
    assert_int_equal(spool_open("no/where", &spool), -ENOENT);
    assert_absent("no");
}

static void a_directory_that_is_a_link_or_a_file_is_refused(void **state)
{
    struct spool *spool;

    (void)state;
    assert_int_equal(mkdir("real", 0700), 0);
    assert_int_equal(symlink("real", "link"), 0);
    assert_int_equal(symlink("missing", "dangling"), 0);
    make_file("file", "");
    assert_int_equal(spool_open("link", &spool), -ELOOP);
    assert_int_equal(spool_open("link/", &spool), -ELOOP);
    assert_int_equal(spool_open("dangling", &spool), -ELOOP);
    assert_int_equal(spool_open("file", &spool), -ENOTDIR);
}

static void an_artifact_is_a_part_until_it_is_whole(void **state)
{
    struct sink *sink;
    struct stat file;
    char hash[65];

    assert_int_equal(spool_sink(spool_of(state), "a.core.zip", &sink), 0);
    assert_int_equal(sink_write(sink, "core", 4), 0);
    assert_absent("a.core.zip");
    assert_int_equal(stat("a.core.zip.part", &file), 0);
    assert_int_equal(file.st_mode, S_IFREG | 0600);

    assert_int_equal(sink_commit(sink, hash), 0);
    assert_absent("a.core.zip.part");
    assert_holds("a.core.zip", "core");
    assert_int_equal(sink->size, 4);
    sink_close(sink);
    assert_holds("a.core.zip", "core");
}

static void an_artifact_that_is_not_committed_leaves_nothing(void **state)
{
    struct sink *sink;

    assert_int_equal(spool_sink(spool_of(state), "a.core.zip", &sink), 0);
    assert_int_equal(sink_write(sink, "core", 4), 0);
    sink_close(sink);
    assert_absent("a.core.zip");
    assert_absent("a.core.zip.part");
}

static void what_is_planted_under_the_parts_name_is_neither_followed_nor_touched(void **state)
{
    static const char *const names[] = {"link", "dangling", "hard", "fifo", "file", "dir"};
    struct sink *sink;

    make_file("precious", "precious");
    assert_int_equal(symlink("precious", "link.part"), 0);
    assert_int_equal(symlink("made-by-us", "dangling.part"), 0);
    assert_int_equal(link("precious", "hard.part"), 0);
    assert_int_equal(mkfifo("fifo.part", 0600), 0);
    make_file("file.part", "stale");
    assert_int_equal(mkdir("dir.part", 0700), 0);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(spool_sink(spool_of(state), names[i], &sink), -EEXIST);
    assert_holds("precious", "precious");
    assert_holds("file.part", "stale");
    assert_absent("made-by-us");
}

static void a_file_that_has_the_artifacts_name_already_stays(void **state)
{
    make_file("precious", "precious");
    make_file("taken", "someone's");
    assert_int_equal(symlink("precious", "link"), 0);
    assert_int_equal(write_artifact(spool_of(state), "taken", "ours"), -EEXIST);
    assert_int_equal(write_artifact(spool_of(state), "link", "ours"), -EEXIST);
    assert_holds("taken", "someone's");
    assert_holds("precious", "precious");
    assert_absent("taken.part");
}

static void a_part_that_was_swapped_is_not_committed(void **state)
{
    struct sink *sink;
    char hash[65];

    make_file("theirs", "theirs");
    assert_int_equal(spool_sink(spool_of(state), "a", &sink), 0);
    assert_int_equal(rename("theirs", "a.part"), 0);
    assert_int_equal(sink_commit(sink, hash), -ESTALE);
    sink_close(sink);
    assert_absent("a");
    assert_holds("a.part", "theirs");
}

static void a_name_that_is_no_plain_file_name_is_refused(void **state)
{
    static const char *const names[] = {"", ".", "..", "a/b", "/etc/passwd", "../a"};
    char longest[NAME_MAX + 1];
    struct sink *sink;
    uint64_t size;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(spool_sink(spool_of(state), names[i], &sink), -EINVAL);
        assert_int_equal(spool_read(spool_of(state), names[i], &size), -EINVAL);
    }
    memset(longest, 'n', NAME_MAX);
    longest[NAME_MAX - 4] = '\0';
    assert_int_equal(spool_sink(spool_of(state), longest, &sink), -ENAMETOOLONG);
    longest[NAME_MAX - 5] = '\0';
    assert_int_equal(write_artifact(spool_of(state), longest, "fits"), 0);
}

static void two_spools_never_claim_the_same_id(void **state)
{
    struct spool *other;

    assert_int_equal(spool_open(".", &other), 0);
    assert_int_equal(spool_claim(spool_of(state), ID), 0);
    assert_int_equal(spool_claim(other, ID), -EEXIST);
    assert_int_equal(spool_claim(other, ID "-2"), 0);
    assert_int_equal(spool_claim(other, ID "-3"), -EBUSY);

    /* The early crash.json takes the .part's place. */
    spool_release(other, ID "-2");
    assert_int_equal(write_artifact(spool_of(state), ID ".crash.json", "early"), 0);
    assert_int_equal(spool_claim(other, ID), -EEXIST);
    spool_close(other);
    assert_absent(ID "-2.crash.json.part");
}

static void an_id_of_which_anything_is_there_is_taken(void **state)
{
    static const char *const names[] = {ID ".core.zip", ID ".libs.zip.part", ID ".stacktrace",
                                        ID ".executable"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(symlink("/nowhere", names[i]), 0);
        assert_int_equal(spool_claim(spool_of(state), ID), -EEXIST);
        assert_absent(ID ".crash.json.part");
        assert_int_equal(unlink(names[i]), 0);
    }
    assert_int_equal(spool_claim(spool_of(state), ID), 0);
}

static void a_released_claim_leaves_nothing_and_only_its_own_file(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    spool_release(spool, "another");
    assert_int_equal(access(ID ".crash.json.part", F_OK), 0);
    spool_release(spool, ID);
    assert_absent(ID ".crash.json.part");

    assert_int_equal(spool_claim(spool, ID), 0);
    make_file("theirs", "theirs");
    assert_int_equal(rename("theirs", ID ".crash.json.part"), 0);
    spool_release(spool, ID);
    assert_holds(ID ".crash.json.part", "theirs");
}

static void crash_json_is_written_early_and_replaced_at_the_end(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(write_artifact(spool, ID ".crash.json", "early"), 0);
    assert_holds(ID ".crash.json", "early");
    assert_int_equal(write_artifact(spool, ID ".crash.json", "final, and longer"), 0);
    assert_holds(ID ".crash.json", "final, and longer");
    assert_int_equal(write_artifact(spool, ID ".crash.json", "last"), 0);
    spool_release(spool, ID);
    assert_holds(ID ".crash.json", "last");
    assert_absent(ID ".crash.json.part");
}

static void only_what_we_wrote_ourselves_is_replaced(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(write_artifact(spool, ID ".crash.json", "early"), 0);
    make_file("theirs", "theirs");
    assert_int_equal(rename("theirs", ID ".crash.json"), 0);
    assert_int_equal(write_artifact(spool, ID ".crash.json", "final"), -EEXIST);
    assert_holds(ID ".crash.json", "theirs");
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "libdw's"), 0);
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "gdb's"), 0);
    assert_holds(ID ".stacktrace", "gdb's");
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "again"), 0);
    assert_holds(ID ".stacktrace", "again");
}

static void an_artifact_is_read_back(void **state)
{
    char text[16] = "";
    uint64_t size;
    int fd;

    assert_int_equal(write_artifact(spool_of(state), "a", "whole"), 0);
    fd = spool_read(spool_of(state), "a", &size);
    assert_true(fd >= 0);
    assert_int_equal(size, 5);
    assert_int_equal(read_full(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "whole");
    close(fd);
    assert_int_equal(spool_read(spool_of(state), "b", &size), -ENOENT);
}

static void what_is_not_one_plain_file_is_not_read(void **state)
{
    uint64_t size;

    make_file("secret", "secret");
    assert_int_equal(symlink("secret", "link"), 0);
    assert_int_equal(link("secret", "hard"), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(spool_read(spool_of(state), "link", &size), -ELOOP);
    assert_int_equal(spool_read(spool_of(state), "hard", &size), -EPERM);
    assert_int_equal(spool_read(spool_of(state), "fifo", &size), -EPERM);
    assert_int_equal(spool_read(spool_of(state), "dir", &size), -EPERM);
}

/* A tmpfs of its own over the directory, invisible to everyone else. */
static struct spool *spool_on_tmpfs(const char *options)
{
    struct spool *spool;

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
        skip();
    assert_int_equal(mkdir("small", 0700), 0);
    assert_int_equal(mount("tmpfs", "small", "tmpfs", 0, options), 0);
    assert_int_equal(spool_open("small", &spool), 0);
    return spool;
}

static void a_full_disk_is_told_and_leaves_nothing(void **state)
{
    struct spool *spool = spool_on_tmpfs("size=64k");
    static char data[48 * 1024];
    struct sink *sink;
    char hash[65];

    (void)state;
    assert_int_equal(spool_sink(spool, "a", &sink), 0);
    assert_int_equal(sink_write(sink, data, sizeof(data)), 0);
    assert_int_equal(sink_write(sink, data, sizeof(data)), -ENOSPC);
    assert_int_equal(sink_write(sink, data, 1), -ENOSPC);
    assert_int_equal(sink_commit(sink, hash), -ENOSPC);
    sink_close(sink);
    assert_absent("small/a");
    assert_absent("small/a.part");
    spool_close(spool);
    assert_int_equal(umount("small"), 0);
}

static void what_did_not_fit_is_taken_back_and_written_where_there_is_room(void **state)
{
    struct spool *spool = spool_on_tmpfs("size=64k");
    static char data[48 * 1024];
    struct sink *sink;
    struct stat file;
    char hash[65];

    (void)state;
    memset(data, 'x', sizeof(data));
    assert_int_equal(spool_sink(spool, "a", &sink), 0);
    assert_int_equal(sink_write(sink, data, sizeof(data)), 0);
    assert_int_equal(sink_write(sink, data, sizeof(data)), -ENOSPC);
    assert_int_equal(spool_sink_undo(sink), 0);
    assert_int_equal(stat("small/a.part", &file), 0);
    assert_int_equal(file.st_size, sizeof(data));
    assert_int_equal(mount("none", "small", "none", MS_REMOUNT, "size=256k"), 0);
    assert_int_equal(sink->ops->write(sink, data, sizeof(data)), 0);
    assert_int_equal(sink_commit(sink, hash), 0);
    sink_close(sink);
    assert_int_equal(stat("small/a", &file), 0);
    assert_int_equal(file.st_size, 2 * sizeof(data));
    spool_close(spool);
    assert_int_equal(umount("small"), 0);
}

static void a_part_that_is_to_stay_stays(void **state)
{
    struct spool *spool = spool_of(state);
    struct sink *sink;

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(spool_sink(spool, ID ".crash.json", &sink), 0);
    assert_int_equal(sink_write(sink, "early", 5), 0);
    spool_sink_keep(sink);
    sink_close(sink);
    spool_release(spool, ID);
    assert_holds(ID ".crash.json.part", "early");
    assert_present(JOURNAL);
    assert_int_equal(spool_adopt(spool, ID), 0); /* and is adopted with it */
}

static void a_read_only_directory_is_told(void **state)
{
    struct spool *spool = spool_on_tmpfs("size=64k"), *missing;
    struct sink *sink;

    (void)state;
    assert_int_equal(mount("none", "small", "none", MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(spool_claim(spool, ID), -EROFS);
    assert_int_equal(spool_sink(spool, "a", &sink), -EROFS);
    assert_int_equal(spool_open("small/missing", &missing), -EROFS);
    spool_close(spool);
    assert_int_equal(umount("small"), 0);
}

/* As `corectl snapshot` leaves its claim to a child that may be killed. */
static void what_a_killed_process_left_of_a_bundle_is_removed(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    make_file(ID ".stacktrace", "whole");
    make_file(ID ".core.zip.part", "half");
    make_file("another.core.zip.part", "half");
    assert_false(spool_abandon(spool, ID));
    assert_int_equal(access(ID ".stacktrace", F_OK), -1);
    assert_int_equal(access(ID ".core.zip.part", F_OK), -1);
    assert_int_equal(access(ID ".crash.json.part", F_OK), -1);
    assert_holds("another.core.zip.part", "half");
}

static void a_bundle_that_is_whole_outlives_whoever_made_it(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(rename(ID ".crash.json.part", ID ".crash.json"), 0);
    make_file(ID ".stacktrace", "whole");
    make_file(ID ".stacktrace.part", "gdb's, half");
    assert_true(spool_abandon(spool, ID));
    assert_holds(ID ".stacktrace", "whole");
    assert_int_equal(access(ID ".crash.json", F_OK), 0);
    assert_int_equal(access(ID ".stacktrace.part", F_OK), -1);
}

static void what_was_never_claimed_is_not_abandoned(void **state)
{
    make_file(ID ".core.zip.part", "another's");
    assert_false(spool_abandon(spool_of(state), ID));
    assert_holds(ID ".core.zip.part", "another's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(a_missing_directory_is_made_for_the_owner_alone),
        SPOOL_TEST(nothing_above_the_directory_is_made),
        SPOOL_TEST(a_directory_that_is_a_link_or_a_file_is_refused),
        SPOOL_TEST(an_artifact_is_a_part_until_it_is_whole),
        SPOOL_TEST(an_artifact_that_is_not_committed_leaves_nothing),
        SPOOL_TEST(what_is_planted_under_the_parts_name_is_neither_followed_nor_touched),
        SPOOL_TEST(a_file_that_has_the_artifacts_name_already_stays),
        SPOOL_TEST(a_part_that_was_swapped_is_not_committed),
        SPOOL_TEST(a_name_that_is_no_plain_file_name_is_refused),
        SPOOL_TEST(two_spools_never_claim_the_same_id),
        SPOOL_TEST(an_id_of_which_anything_is_there_is_taken),
        SPOOL_TEST(a_released_claim_leaves_nothing_and_only_its_own_file),
        SPOOL_TEST(crash_json_is_written_early_and_replaced_at_the_end),
        SPOOL_TEST(only_what_we_wrote_ourselves_is_replaced),
        SPOOL_TEST(an_artifact_is_read_back),
        SPOOL_TEST(what_is_not_one_plain_file_is_not_read),
        SPOOL_TEST(a_full_disk_is_told_and_leaves_nothing),
        SPOOL_TEST(what_did_not_fit_is_taken_back_and_written_where_there_is_room),
        SPOOL_TEST(a_part_that_is_to_stay_stays),
        SPOOL_TEST(a_read_only_directory_is_told),
        SPOOL_TEST(what_a_killed_process_left_of_a_bundle_is_removed),
        SPOOL_TEST(a_bundle_that_is_whole_outlives_whoever_made_it),
        SPOOL_TEST(what_was_never_claimed_is_not_abandoned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
