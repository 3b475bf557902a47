/* What is found in a directory where anyone may have put anything, and what is removed of it. */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "store_spool_testing.h"
#include "util/log.h"

static void free_list(struct spool_list *list)
{
    spool_list_free(list);
}
#define _cleanup_list_ _cleanup_(free_list)

static const struct spool_bundle *find(const struct spool_list *list, const char *id)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->bundles[i].id, id) == 0)
            return &list->bundles[i];
    return NULL;
}

/* A bundle of 4 bytes in the core and 2 in crash.json, so many seconds after the first one. */
static void leave_aged(struct spool *spool, const char *id, time_t age, bool is_sent)
{
    static const char *const suffixes[] = {".core.zip", ".crash.json"};
    const struct timespec times[2] = {{1700000000 + age, 0}, {1700000000 + age, 0}};
    char name[NAME_MAX + 1];

    leave_bundle(spool, id, true);
    if (is_sent) {
        assert_int_equal(spool_adopt(spool, id), 0);
        assert_int_equal(spool_note_sent_all(spool), 0);
        spool_release(spool, id);
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "%s%s", id, suffixes[i]);
        assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
    }
}

static void bundles_are_listed_the_oldest_first(void **state)
{
    _cleanup_list_ struct spool_list list;
    struct spool *spool = spool_of(state), *other = another_spool();

    leave_aged(spool, "b", 2, true);
    leave_aged(spool, "c", 3, false);
    leave_aged(spool, "a", 4, false);
    assert_int_equal(spool_set_destination(other, "bucket", "prefix"), 0);
    leave_aged(other, "other's", 1, false);
    make_file("c.libs.zip.part", "half of it");
    assert_int_equal(spool_claim(spool, "new"), 0);

    assert_int_equal(spool_list(spool, &list), 0);
    assert_false(list.is_cut);
    assert_int_equal(list.n, 5);
    assert_string_equal(list.bundles[0].id, "other's");
    assert_string_equal(list.bundles[1].id, "b");
    assert_string_equal(list.bundles[2].id, "a");
    assert_false(find(&list, "other's")->is_ours);
    assert_true(find(&list, "b")->is_ours);
    assert_true(find(&list, "b")->is_sent);
    assert_false(find(&list, "a")->is_sent);
    assert_true(find(&list, "a")->is_complete);
    assert_int_equal(find(&list, "a")->bytes, 6);
    assert_int_equal(find(&list, "a")->n_files, 2);
    assert_int_equal(find(&list, "a")->n_parts, 0);
    assert_int_equal(find(&list, "a")->when, 1700000004);
    assert_int_equal(find(&list, "c")->bytes, 16);
    assert_int_equal(find(&list, "c")->n_parts, 1);
    assert_true(find(&list, "new")->is_held);
    assert_false(find(&list, "new")->is_complete);
    assert_false(find(&list, "a")->is_held);
    spool_close(other);
}

static void an_empty_directory_has_no_bundles(void **state)
{
    _cleanup_list_ struct spool_list list;

    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, 0);
}

static void what_has_neither_journal_nor_crash_json_is_no_bundle(void **state)
{
    _cleanup_list_ struct spool_list list;

    make_file("archive.core.zip", "someone's");
    make_file("archive.crash.json.part", "{");
    make_file("without-journal.crash.json", "{}");
    make_file("without-journal.stacktrace", "#0");
    make_file(".stray.journal", "coreinit journal 1\n");
    make_file("..journal", "");
    make_file(".core.zip", "");
    make_file(".crash.json", "");
    make_file(".part", "");
    make_file(".crash.json.part", "");
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(find(&list, "without-journal")->error, -ENOENT);
    assert_true(find(&list, "without-journal")->is_ours);
    assert_int_equal(find(&list, "without-journal")->n_files, 2);
    assert_int_equal(find(&list, "stray")->n_files, 0);
}

/* An id may end like a suffix: RUN_ID is anyone's. */
static void ids_that_look_like_suffixes_are_kept_apart(void **state)
{
    static const char *const ids[] = {"x",  "x.crash.json", "x.crash.json.part", ".x",
                                      "..", "x.part",       ".x.journal"};
    _cleanup_list_ struct spool_list list;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        leave_bundle(spool_of(state), ids[i], true);
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, sizeof(ids) / sizeof(ids[0]));
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_int_equal(find(&list, ids[i])->n_files, 2);
        assert_int_equal(find(&list, ids[i])->n_parts, 0);
        assert_int_equal(spool_remove(spool_of(state), ids[i]), 0);
    }
    spool_list_free(&list);
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, 0);
}

static void planted_files_count_for_nothing(void **state)
{
    _cleanup_list_ struct spool_list list;
    struct spool *spool = spool_of(state);

    leave_bundle(spool, ID, true);
    make_file("precious", "precious");
    assert_int_equal(symlink("precious", ID ".stacktrace"), 0);
    assert_int_equal(link("precious", ID ".executable"), 0);
    assert_int_equal(mkfifo(ID ".libs.zip", 0600), 0);
    assert_int_equal(mkdir("directory.crash.json", 0700), 0);
    assert_int_equal(symlink("/dev/zero", "link.crash.json"), 0);
    assert_int_equal(symlink("precious", ".link.journal"), 0);
    assert_int_equal(mkfifo(".fifo.journal", 0600), 0);
    make_file("escape\033[2J.crash.json", "{}");
    make_file("two\nlines.crash.json", "{}");
    make_file("no\xffutf8.crash.json", "{}");
    make_file(".escape\033[2J.journal", "coreinit journal 1\n");

    assert_int_equal(spool_list(spool, &list), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.bundles[0].id, ID);
    assert_int_equal(list.bundles[0].n_files, 2);
    assert_int_equal(list.bundles[0].bytes, 6);
    assert_int_equal(spool_remove(spool, ID), 0);
    assert_holds("precious", "precious");
    assert_absent(ID ".core.zip");
}

static void a_bundle_whose_journal_is_planted_is_told(void **state)
{
    _cleanup_list_ struct spool_list list;

    make_file("a.crash.json", "{}");
    make_file(".a.journal", "garbage");
    make_file("b.crash.json", "{}");
    assert_int_equal(symlink("a.crash.json", ".b.journal"), 0);
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(find(&list, "a")->error, -EBADMSG);
    assert_int_equal(find(&list, "b")->error, -ELOOP);
    assert_false(find(&list, "a")->is_ours);
    assert_false(find(&list, "b")->is_ours);
}

/* Below the limits of spool_list(), and above them. */
static void make_many(const char *format, int from, int to, uid_t uid)
{
    char name[64];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof(name), format, i);
        make_file(name, "x");
        if (uid)
            assert_int_equal(chown(name, uid, uid), 0);
    }
}

static void a_thousand_foreign_files_hide_no_bundle(void **state)
{
    _cleanup_list_ struct spool_list list;
    const uid_t uid = geteuid() == 0 ? 65534 : 0;

    leave_bundle(spool_of(state), ID, true);
    make_many("foreign-%d.core.zip", 0, 500, uid);
    make_many(".foreign-%d.journal", 0, 500, uid);
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_false(list.is_cut);
    assert_non_null(find(&list, ID));
    if (uid)
        assert_int_equal(list.n, 1);
}

static void of_too_many_files_some_are_looked_at(void **state)
{
    _cleanup_list_ struct spool_list list;

    for (int i = 0; i < 20001; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%d.crash.json", i);
        assert_int_equal(mknod(name, S_IFREG | 0600, 0), 0);
    }
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_true(list.is_cut);
    assert_true(list.n <= 20000);
}

/* Makes, renames and removes bundles and what looks like them, until it is killed. */
static void stir(void)
{
    struct spool *spool;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (spool_open(".", &spool) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        char id[32], name[64];

        snprintf(id, sizeof(id), "stirred-%u", i % 7);
        snprintf(name, sizeof(name), "%s.crash.json", id);
        if (spool_claim(spool, id) == 0)
            (void)write_artifact(spool, name, "{}");
        spool_release(spool, id);
        (void)rename(name, "elsewhere.crash.json");
        if (symlink("/dev/zero", name) == 0)
            (void)unlink(name);
        (void)spool_remove(spool, "elsewhere");
        (void)spool_remove(spool, id);
    }
}

static void a_directory_that_changes_meanwhile_is_listed(void **state)
{
    const pid_t pid = fork();

    if (pid == 0)
        stir();
    leave_bundle(spool_of(state), ID, true);
    for (int i = 0; i < 100; i++) {
        _cleanup_list_ struct spool_list list;

        assert_int_equal(spool_list(spool_of(state), &list), 0);
        assert_non_null(find(&list, ID));
        assert_true(list.n <= 9);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid, SIGKILL);
}

/* Which of a to e are still there. */
static const char *left(void)
{
    static char text[8];
    size_t n = 0;

    for (char c = 'a'; c <= 'e'; c++) {
        const char name[] = {c, '.', 'c', 'o', 'r', 'e', '.', 'z', 'i', 'p', '\0'};

        if (access(name, F_OK) == 0)
            text[n++] = c;
    }
    text[n] = '\0';
    return text;
}

/* Five bundles of 6 bytes in 2 files each, the oldest first; b and d were sent. */
static void leave_five(struct spool *spool)
{
    for (int i = 0; i < 5; i++) {
        const char id[] = {(char)('a' + i), '\0'};

        leave_aged(spool, id, i, i == 1 || i == 3);
    }
}

/* What is logged while it runs is in the file "log". */
static int make_room(struct spool *spool, struct spool_policy policy, uint64_t needed)
{
    const int saved = dup(STDERR_FILENO);
    _cleanup_close_ int fd = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r;

    fflush(stderr);
    assert_true(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    r = spool_make_room(spool, &policy, needed);
    dup2(saved, STDERR_FILENO);
    close(saved);
    return r;
}

static int logged(const char *text)
{
    _cleanup_close_ int fd = open("log", O_RDONLY | O_CLOEXEC);
    char log[8192] = "";
    int n = 0;

    assert_true(read_full(fd, log, sizeof(log) - 1) >= 0);
    for (const char *at = log; (at = strstr(at, text)); at++)
        n++;
    return n;
}

static void without_limits_all_stays(void **state)
{
    leave_five(spool_of(state));
    assert_int_equal(make_room(spool_of(state), (struct spool_policy){0}, 0), 0);
    assert_string_equal(left(), "abcde");
    assert_int_equal(make_room(spool_of(state), (struct spool_policy){.max_use = 30}, 0), 0);
    assert_int_equal(make_room(spool_of(state), (struct spool_policy){.max_files = 10}, 0), 0);
    assert_string_equal(left(), "abcde");
}

static void the_oldest_that_were_sent_go_first(void **state)
{
    struct spool *spool = spool_of(state);

    leave_five(spool);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 29}, 0), 0);
    assert_string_equal(left(), "acde");
    assert_absent("b.crash.json");
    assert_absent(".b.journal");
    assert_int_equal(make_room(spool, (struct spool_policy){.max_files = 7}, 0), 0);
    assert_string_equal(left(), "ace");
    assert_int_equal(logged("warning"), 0);
}

static void unsent_ones_go_only_after_those_and_with_a_warning_each(void **state)
{
    struct spool *spool = spool_of(state);

    leave_five(spool);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 12}, 0), 0);
    assert_string_equal(left(), "ce");
    assert_int_equal(logged("warning: bundle a was not sent, and is removed"), 1);
    assert_int_equal(logged("warning"), 1);
}

static void room_for_what_is_to_come_counts(void **state)
{
    struct spool *spool = spool_of(state);

    leave_five(spool);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 30}, 7), 0);
    assert_string_equal(left(), "ace");
}

/* A core that is larger than the limit would else cost everything, and not fit all the same. */
static void what_would_not_help_is_not_removed(void **state)
{
    struct spool *spool = spool_of(state);

    leave_five(spool);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 30}, 25), -ENOSPC);
    assert_string_equal(left(), "ace");
    assert_int_equal(logged("warning"), 1);
    assert_int_equal(make_room(spool, (struct spool_policy){.keep_free = UINT64_MAX}, 1), -ENOSPC);
    assert_string_equal(left(), "ace");
    assert_int_equal(make_room(spool, (struct spool_policy){.keep_free = UINT64_MAX}, 0), -ENOSPC);
    assert_string_equal(left(), "ace"); /* it isn't they who fill the disk */
    assert_int_equal(make_room(spool, (struct spool_policy){0}, UINT64_MAX), -ENOSPC);
    assert_string_equal(left(), "ace");
    assert_int_equal(logged("warning"), 0);
}

static void the_spools_own_limits_are_kept_as_far_as_that_goes(void **state)
{
    struct spool *spool = spool_of(state);
    const struct spool_policy policy = {.max_use = 1, .keep_free = UINT64_MAX};

    leave_five(spool);
    assert_int_equal(make_room(spool, policy, 0), -ENOSPC);
    assert_string_equal(left(), "e");
    assert_int_equal(logged("was not sent, and is removed"), 2);
    assert_int_equal(logged("the cores dir is 5 bytes beyond max_use"), 1);
}

static void without_a_limit_sent_ones_go_if_that_makes_the_room(void **state)
{
    struct spool *spool = spool_of(state);

    leave_five(spool);
    assert_int_equal(make_room(spool, (struct spool_policy){0}, UINT64_MAX), -ENOSPC);
    assert_string_equal(left(), "abcde");
}

static void the_newest_unsent_bundle_stays(void **state)
{
    struct spool *spool = spool_of(state);

    leave_aged(spool, "a", 1, false);
    leave_aged(spool, "b", 2, false);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 6}, 0), 0);
    assert_string_equal(left(), "b");
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 1}, 0), -ENOSPC);
    assert_string_equal(left(), "b");
    leave_aged(spool, "c", 3, true);
    assert_int_equal(make_room(spool, (struct spool_policy){.max_use = 6}, 0), 0);
    assert_string_equal(left(), "b"); /* a sent one is not spared for being the newest */
}

static void what_is_in_work_or_goes_elsewhere_stays(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool(), *third = another_spool();

    leave_five(spool);
    assert_int_equal(spool_adopt(spool, "b"), 0);
    assert_int_equal(spool_set_destination(other, "bucket", "prefix"), 0);
    assert_int_equal(spool_adopt(other, "a"), 0);
    spool_release(other, "a");
    assert_int_equal(spool_adopt(third, "c"), 0);
    /* That c is in work shows only once it is its turn. */
    assert_int_equal(make_room(spool, (struct spool_policy){.max_files = 6}, 0), -ENOSPC);
    assert_string_equal(left(), "abce");
    assert_int_equal(logged("removed"), 1);
    spool_close(other);
    spool_close(third);
}

static void stray_journals_go_and_nothing_else(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();

    leave_five(spool);
    make_file(".stray.journal", "coreinit journal 1\ndestination s3://x/y\n");
    make_file(".ours.journal", "coreinit journal 1\n");
    make_file("archive.core.zip", "someone's");
    make_file("old.crash.json", "{}");
    assert_int_equal(spool_claim(other, "new"), 0);
    assert_int_equal(unlink("new.crash.json.part"), 0);
    assert_int_equal(make_room(spool, (struct spool_policy){0}, 0), 0);
    assert_present(".stray.journal"); /* another's */
    assert_absent(".ours.journal");
    assert_present(".new.journal"); /* in work */
    assert_present("archive.core.zip");
    assert_present("old.crash.json");
    assert_string_equal(left(), "abcde");
    spool_close(other);
}

/* On a file system of its own: what is free, and what a removal frees. */
static void what_is_to_stay_free_is_kept_free(void **state)
{
    static char block[64 * 1024];
    struct spool *spool;
    struct sink *sink;
    char hash[65], name[32];

    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
        skip();
    assert_int_equal(mkdir("small", 0700), 0);
    assert_int_equal(mount("tmpfs", "small", "tmpfs", 0, "size=512k"), 0);
    assert_int_equal(spool_open("small", &spool), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%d", i);
        leave_bundle(spool, name, true);
        assert_int_equal(spool_adopt(spool, name), 0);
        snprintf(name, sizeof(name), "%d.core.zip", i);
        assert_int_equal(spool_sink(spool, name, &sink), 0);
        assert_int_equal(sink_write(sink, block, sizeof(block)), 0);
        assert_int_equal(sink_commit(sink, hash), 0);
        sink_close(sink);
        assert_int_equal(i == 1 ? spool_note_sent_all(spool) : 0, 0);
        name[1] = '\0';
        spool_release(spool, name);
    }
    assert_int_equal(make_room(spool, (struct spool_policy){0}, 240 * 1024), 0);
    assert_absent("small/1.core.zip"); /* was sent, and makes the room */
    assert_present("small/0.core.zip");
    assert_int_equal(make_room(spool, (struct spool_policy){0}, 400 * 1024), -ENOSPC);
    assert_present("small/0.core.zip"); /* nobody allowed that */
    assert_int_equal(make_room(spool, (struct spool_policy){.keep_free = 300 * 1024}, 0), 0);
    assert_absent("small/0.core.zip");
    assert_present("small/2.core.zip");
    spool_close(spool);
    assert_int_equal(umount("small"), 0);
}

static int show_all_levels(void **state)
{
    (void)state;
    log_max_level = LEVEL_INFO;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(bundles_are_listed_the_oldest_first),
        SPOOL_TEST(an_empty_directory_has_no_bundles),
        SPOOL_TEST(what_has_neither_journal_nor_crash_json_is_no_bundle),
        SPOOL_TEST(ids_that_look_like_suffixes_are_kept_apart),
        SPOOL_TEST(planted_files_count_for_nothing),
        SPOOL_TEST(a_bundle_whose_journal_is_planted_is_told),
        SPOOL_TEST(a_thousand_foreign_files_hide_no_bundle),
        SPOOL_TEST(of_too_many_files_some_are_looked_at),
        SPOOL_TEST(a_directory_that_changes_meanwhile_is_listed),
        SPOOL_TEST(without_limits_all_stays),
        SPOOL_TEST(the_oldest_that_were_sent_go_first),
        SPOOL_TEST(unsent_ones_go_only_after_those_and_with_a_warning_each),
        SPOOL_TEST(room_for_what_is_to_come_counts),
        SPOOL_TEST(what_would_not_help_is_not_removed),
        SPOOL_TEST(the_spools_own_limits_are_kept_as_far_as_that_goes),
        SPOOL_TEST(without_a_limit_sent_ones_go_if_that_makes_the_room),
        SPOOL_TEST(the_newest_unsent_bundle_stays),
        SPOOL_TEST(what_is_in_work_or_goes_elsewhere_stays),
        SPOOL_TEST(stray_journals_go_and_nothing_else),
        SPOOL_TEST(what_is_to_stay_free_is_kept_free),
    };

    return cmocka_run_group_tests(tests, show_all_levels, NULL);
}
