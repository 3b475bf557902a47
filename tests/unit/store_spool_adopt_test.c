/* Who works on a bundle: claimed, left, adopted, removed; by processes that share a directory. */

#include <signal.h>
#include <sys/prctl.h>

#include "store_spool_testing.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct journal_crash crash = {
    .pid = 4711, .realtime = {1795253425, 123456789}, .boottime = {12, 5}};

static void a_claim_has_a_journal_which_goes_with_it_where_nothing_is_left(void **state)
{
    struct spool *spool = spool_of(state);

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_present(JOURNAL);
    spool_release(spool, ID);
    assert_absent(JOURNAL);
    assert_absent(ID ".crash.json.part");

    leave_bundle(spool, ID, true);
    assert_present(JOURNAL);
}

static void an_id_with_a_journal_alone_is_taken(void **state)
{
    make_file(JOURNAL, "");
    assert_int_equal(spool_claim(spool_of(state), ID), -EEXIST);
    assert_absent(ID ".crash.json.part");
    assert_holds(JOURNAL, "");
}

static void what_another_works_on_is_busy_and_what_it_left_is_taken_over(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(write_artifact(spool, ID ".core.zip", "core"), 0);
    assert_int_equal(spool_adopt(other, ID), -EBUSY);
    assert_int_equal(spool_remove(other, ID), -EBUSY);
    assert_holds(ID ".core.zip", "core");
    spool_release(spool, ID);
    assert_int_equal(spool_adopt(other, ID), 0);
    assert_int_equal(spool_adopt(spool, ID), -EBUSY);
    assert_int_equal(spool_claim(spool, ID), -EEXIST);
    spool_close(other);
    assert_int_equal(spool_adopt(spool, ID), 0);
    assert_int_equal(spool_adopt(spool, "another"), -EBUSY); /* one at a time */
    assert_int_equal(spool_claim(spool, "another"), -EBUSY);
}

static void what_is_not_there_is_not_adopted(void **state)
{
    struct spool *spool = spool_of(state);
    char longest[2 * NAME_MAX];

    assert_int_equal(spool_adopt(spool, ID), -ENOENT);
    assert_int_equal(spool_adopt(spool, ""), -EINVAL);
    assert_int_equal(spool_adopt(spool, "../x"), -EINVAL);
    assert_int_equal(spool_remove(spool, "../x"), -EINVAL);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(spool_adopt(spool, longest), -ENAMETOOLONG);
    make_file(ID ".core.zip", "half of something");
    assert_int_equal(spool_adopt(spool, ID), -ENOENT);
    make_file(JOURNAL, "coreinit journal 1\n");
    assert_int_equal(unlink(ID ".core.zip"), 0);
    assert_int_equal(spool_adopt(spool, ID), -ENOENT);
    assert_absent(ID ".crash.json.part");
}

static void a_complete_bundle_without_a_journal_gets_one(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();

    make_file(ID ".crash.json", "{}");
    assert_int_equal(spool_adopt(spool, ID), 0);
    assert_present(JOURNAL);
    assert_int_equal(spool_adopt(other, ID), -EBUSY);
    spool_close(other);
}

static void two_that_send_to_different_places_leave_each_others_bundles_alone(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();
    struct journal_notes notes;

    assert_int_equal(spool_set_destination(spool, "bucket", "a"), 0);
    leave_bundle(spool, ID, true);
    leave_bundle(other, "nowhere", true);
    assert_int_equal(spool_set_destination(other, "bucket", "b"), 0);

    assert_int_equal(spool_adopt(other, ID), -EPERM);
    assert_int_equal(spool_remove(other, ID), -EPERM);
    assert_int_equal(spool_set_destination(other, "", "a"), 0);
    assert_int_equal(spool_adopt(other, ID), -EPERM);
    assert_holds(ID ".core.zip", "core");
    assert_int_equal(spool_set_destination(other, "bucket", "a"), 0);
    assert_int_equal(spool_adopt(other, ID), 0);
    spool_release(other, ID);

    assert_int_equal(spool_adopt(spool, "nowhere"), 0); /* and goes where its adopter sends it */
    spool_noted(spool, &notes);
    assert_string_equal(notes.destination, "s3://bucket/a");
    spool_release(spool, "nowhere");
    assert_int_equal(spool_set_destination(other, "bucket", "b"), 0);
    assert_int_equal(spool_adopt(other, "nowhere"), -EPERM);
    spool_close(other);
}

static void a_destination_that_is_too_long_is_none(void **state)
{
    static char longest[2000];

    memset(longest, 'x', sizeof(longest) - 1);
    assert_int_equal(spool_set_destination(spool_of(state), "bucket", longest), -ENAMETOOLONG);
    leave_bundle(spool_of(state), ID, true);
    assert_holds(JOURNAL, "coreinit journal 1\n");
}

static void the_notes_of_the_one_before_are_there(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();
    struct journal_notes notes;

    assert_int_equal(spool_note_sent_all(spool), -ENOENT);
    spool_set_crash(spool, &crash);
    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(spool_note_core(spool, "/cores/core.4711"), 0);
    assert_int_equal(spool_note_upload(spool, ARTIFACT_CORE, "upload id"), 0);
    assert_int_equal(spool_note_sent(spool, ARTIFACT_STACKTRACE, 5, SHA), 0);
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "stack"), 0);
    spool_release(spool, ID);
    spool_noted(spool, &notes);
    assert_int_equal(notes.crash.pid, 0);

    assert_int_equal(spool_adopt(other, ID), 0);
    spool_noted(other, &notes);
    assert_int_equal(notes.crash.pid, crash.pid);
    assert_string_equal(notes.core, "/cores/core.4711");
    assert_string_equal(notes.artifacts[ARTIFACT_CORE].upload_id, "upload id");
    assert_false(notes.is_sent);
    spool_close(other);
}

static void what_is_replaced_after_it_was_sent_is_unsent_again(void **state)
{
    struct spool *spool = spool_of(state);
    struct journal_notes notes;

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "libdw's"), 0);
    assert_int_equal(spool_note_sent(spool, ARTIFACT_STACKTRACE, 7, SHA), 0);
    assert_int_equal(spool_note_sent(spool, ARTIFACT_CORE, 7, SHA), 0);
    assert_int_equal(spool_note_sent_all(spool), 0);
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "gdb's"), 0);
    spool_noted(spool, &notes);
    assert_false(notes.artifacts[ARTIFACT_STACKTRACE].is_sent);
    assert_true(notes.artifacts[ARTIFACT_CORE].is_sent);
    assert_false(notes.is_sent);
}

static void the_bundle_of_a_crash_is_found_again(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();
    struct journal_crash unlike = crash;
    char id[NAME_MAX + 1];

    assert_int_equal(spool_adopt_crash(spool, &crash, id), -ENOENT);
    leave_bundle(spool, "another", true);
    spool_set_crash(spool, &crash);
    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(spool_adopt_crash(other, &crash, id), -EBUSY);
    assert_int_equal(write_artifact(spool, ID ".stacktrace", "stack"), 0);
    spool_release(spool, ID);

    unlike.boottime.tv_nsec++;
    assert_int_equal(spool_adopt_crash(other, &unlike, id), -ENOENT);
    unlike = crash;
    unlike.pid++;
    assert_int_equal(spool_adopt_crash(other, &unlike, id), -ENOENT);
    assert_int_equal(spool_adopt_crash(other, &crash, id), 0);
    assert_string_equal(id, ID);
    assert_int_equal(write_artifact(other, ID ".crash.json", "{}"), 0);
    spool_close(other);
}

/* Killed between its journal and its first artifact: the id must not be lost to the next one. */
static void the_bundle_of_a_crash_is_found_even_if_there_is_nothing_of_it(void **state)
{
    char id[NAME_MAX + 1];

    make_file(JOURNAL, "coreinit journal 1\ncrash 4711 1795253425.123456789 12.000000005\n");
    assert_int_equal(spool_adopt_crash(spool_of(state), &crash, id), 0);
    assert_string_equal(id, ID);
}

static void an_adopter_replaces_what_it_found_and_ends_what_was_half_made(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();
    uint64_t size;
    int fd;

    leave_bundle(spool, ID, true);
    make_file(ID ".libs.zip.part", "half");
    make_file("another.libs.zip.part", "half");
    assert_int_equal(spool_adopt(other, ID), 0);
    fd = spool_read(other, ID ".libs.zip.part", &size);
    assert_true(fd >= 0 && size == 4);
    close(fd);
    assert_int_equal(write_artifact(other, ID ".crash.json", "final"), 0);
    assert_int_equal(write_artifact(other, ID ".libs.zip", "whole"), 0);
    assert_int_equal(write_artifact(other, "another.libs.zip", "whole"), -EEXIST);
    assert_holds(ID ".crash.json", "final");
    assert_holds(ID ".libs.zip", "whole");
    assert_holds("another.libs.zip.part", "half");
    spool_close(other);
}

static void an_adopter_may_remove_what_was_half_made(void **state)
{
    struct spool *spool = spool_of(state);

    leave_bundle(spool, ID, true);
    make_file(ID ".libs.zip.part", "half");
    make_file("another.libs.zip.part", "half");
    spool_remove_parts(spool);
    assert_present(ID ".libs.zip.part");
    assert_int_equal(spool_adopt(spool, ID), 0);
    spool_remove_parts(spool);
    assert_absent(ID ".libs.zip.part");
    assert_holds(ID ".core.zip", "core");
    assert_present("another.libs.zip.part");
}

static void a_removed_bundle_leaves_nothing_and_others_stay(void **state)
{
    struct spool *spool = spool_of(state);

    leave_bundle(spool, ID, true);
    leave_bundle(spool, ID "-2", false);
    leave_bundle(spool, "held", true);
    make_file(ID "-2.libs.zip.part", "half");
    assert_int_equal(spool_adopt(spool, "held"), 0);
    assert_int_equal(spool_remove(spool, ID "-2"), 0);
    assert_absent(ID "-2.core.zip");
    assert_absent(ID "-2.libs.zip.part");
    assert_absent("." ID "-2.journal");
    assert_holds(ID ".core.zip", "core");
    assert_int_equal(spool_remove(spool, "held"), 0);
    assert_absent("held.crash.json");
    assert_absent(".held.journal");
    assert_int_equal(spool_remove(spool, "held"), -ENOENT);
    assert_int_equal(spool_adopt(spool, ID), 0); /* it holds none any more */
}

static void foreign_files_are_neither_taken_nor_removed(void **state)
{
    struct spool *spool = spool_of(state);
    uint64_t size;

    if (geteuid() != 0)
        skip();
    leave_bundle(spool, ID, true);
    assert_int_equal(unlink(ID ".core.zip"), 0);
    make_file(ID ".core.zip", "theirs");
    assert_int_equal(chown(ID ".core.zip", 65534, 65534), 0);
    make_file("foreign.crash.json", "{}");
    assert_int_equal(chown("foreign.crash.json", 65534, 65534), 0);

    assert_int_equal(spool_adopt(spool, "foreign"), -EPERM);
    assert_absent(".foreign.journal");
    assert_int_equal(spool_adopt(spool, ID), 0);
    assert_int_equal(spool_read(spool, ID ".core.zip", &size), -EPERM);
    assert_int_equal(write_artifact(spool, ID ".core.zip", "ours"), -EEXIST);
    assert_int_equal(spool_remove(spool, ID), 0);
    assert_holds(ID ".core.zip", "theirs");
    assert_present(JOURNAL); /* as long as anything is there: nobody claims that id */
}

static void a_planted_journal_keeps_its_bundle_alone(void **state)
{
    struct spool *spool = spool_of(state);

    make_file("target", "coreinit journal 1\nsent-all\n");
    make_file(ID ".crash.json", "{}");
    assert_int_equal(symlink("target", JOURNAL), 0);
    assert_int_equal(spool_adopt(spool, ID), -ELOOP);
    assert_int_equal(spool_remove(spool, ID), -ELOOP);
    assert_int_equal(unlink(JOURNAL), 0);
    assert_int_equal(link("target", JOURNAL), 0);
    assert_int_equal(spool_adopt(spool, ID), -EPERM);
    assert_int_equal(unlink(JOURNAL), 0);
    make_file(JOURNAL, "garbage");
    assert_int_equal(spool_adopt(spool, ID), -EBADMSG);
    assert_int_equal(spool_remove(spool, ID), -EBADMSG);
    assert_holds(ID ".crash.json", "{}");
    assert_holds("target", "coreinit journal 1\nsent-all\n");
}

static void a_directory_that_is_renamed_meanwhile_stays_the_one(void **state)
{
    struct spool *spool;

    (void)state;
    assert_int_equal(spool_open("a", &spool), 0);
    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(rename("a", "b"), 0);
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(write_artifact(spool, ID ".core.zip", "core"), 0);
    assert_int_equal(spool_note_sent_all(spool), 0);
    assert_holds("b/" ID ".core.zip", "core");
    spool_close(spool);
    assert_int_equal(rmdir("a"), 0);
    assert_holds("b/" JOURNAL, "coreinit journal 1\nsent-all\n");
}

static void what_a_sink_writes_is_read_at_once_and_after_its_end(void **state)
{
    struct spool *spool = spool_of(state);
    struct sink *sink;
    char text[16] = "";
    int fd;

    assert_int_equal(spool_claim(spool, ID), 0);
    assert_int_equal(spool_sink(spool, ID ".core.zip", &sink), 0);
    fd = spool_sink_reader(sink);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(pread_full(fd, text, sizeof(text), 0), 0);
    assert_int_equal(sink_write(sink, "core", 4), 0);
    assert_int_equal(pread_full(fd, text, sizeof(text), 1), 3);
    assert_string_equal(text, "ore");
    assert_int_equal(sink_write(sink, "zip", 3), 0); /* and reading moves nothing */
    sink_close(sink);
    assert_absent(ID ".core.zip.part");
    assert_int_equal(pread_full(fd, text, sizeof(text), 0), 7);
    assert_string_equal(text, "corezip");
    close(fd);
}

/* Forks a child that adopts the bundle, says so, and waits to be killed. */
static pid_t hold_in_child(const char *id)
{
    struct spool *spool;
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (spool_open(".", &spool) < 0 || spool_adopt(spool, id) < 0 ||
            write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    close(ends[1]);
    wait_for_byte(ends[0]);
    close(ends[0]);
    return pid;
}

static void a_killed_holder_holds_nothing(void **state)
{
    struct spool *spool = spool_of(state);
    pid_t pid;

    leave_bundle(spool, ID, false);
    pid = hold_in_child(ID);
    assert_int_equal(spool_adopt(spool, ID), -EBUSY);
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid, SIGKILL);
    assert_int_equal(spool_adopt(spool, ID), 0);
}

/* As gdb, which the collector runs. */
static void what_the_holder_executed_holds_nothing(void **state)
{
    struct spool *other = another_spool();
    int in[2], out[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    leave_bundle(other, ID, false);
    assert_int_equal(spool_adopt(other, ID), 0);
    pid = fork();
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execlp("cat", "cat", NULL);
        _exit(127);
    }
    assert_int_equal(write(in[1], "x", 1), 1);
    wait_for_byte(out[0]); /* it executes something else by now */
    spool_close(other);
    assert_int_equal(spool_adopt(spool_of(state), ID), 0);
    close(in[1]);
    close(in[0]);
    reap(pid, 0);
    close(out[0]);
    close(out[1]);
}

static void letting_go_counts_for_forked_children_too(void **state)
{
    struct spool *spool = spool_of(state), *other = another_spool();
    pid_t pid;

    leave_bundle(spool, ID, false);
    assert_int_equal(spool_adopt(spool, ID), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    assert_int_equal(spool_adopt(other, ID), -EBUSY);
    spool_release(spool, ID);
    assert_int_equal(spool_adopt(other, ID), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid, SIGKILL);
    spool_close(other);
}

/* Adopts and notes as often as it can; removes in the end. Exits with how often it had it. */
static void fight(int start_fd)
{
    struct spool *spool;
    char byte;
    int count = 0;

    if (spool_open(".", &spool) < 0 || read(start_fd, &byte, 1) < 0)
        _exit(100);
    for (int r = 0; r != -ENOENT;) {
        r = spool_adopt(spool, ID);
        if (r == -EBUSY)
            continue;
        if (r == -ENOENT)
            break;
        /* Whoever has it is alone: nobody else makes this name meanwhile. */
        if (r < 0 || mkdir("alone", 0700) < 0 || rmdir("alone") < 0)
            _exit(101);
        if (++count < 20)
            spool_release(spool, ID);
        else if (spool_remove(spool, ID) < 0)
            _exit(102);
    }
    spool_close(spool);
    _exit(count > 0 ? 1 : 0);
}

static void of_many_adopters_one_has_it(void **state)
{
    enum { FIGHTERS = 12 };
    pid_t pids[FIGHTERS];
    int ends[2], status, had_it = 0;

    leave_bundle(spool_of(state), ID, true);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < FIGHTERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(ends[1]);
            fight(ends[0]);
        }
    }
    close(ends[0]);
    close(ends[1]); /* now */
    for (int i = 0; i < FIGHTERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_in_range(WEXITSTATUS(status), 0, 1);
        had_it += WEXITSTATUS(status);
    }
    assert_true(had_it >= 1);
    assert_absent(JOURNAL);
    assert_absent(ID ".crash.json");
}

/* Claims ids until one is its own, and leaves a file there that only it writes. */
static void claim_one(int start_fd)
{
    struct spool *spool;
    char byte, id[NAME_MAX + 1], name[NAME_MAX + 1];
    int r = -EEXIST;

    if (spool_open(".", &spool) < 0 || read(start_fd, &byte, 1) < 0)
        _exit(100);
    for (int i = 1; r == -EEXIST && i < 1000; i++) {
        snprintf(id, sizeof(id), "%s-%d", ID, i);
        r = spool_claim(spool, id);
    }
    snprintf(name, sizeof(name), "%.200s.crash.json", id);
    if (r < 0 || write_artifact(spool, name, "{}") < 0)
        _exit(101);
    spool_close(spool);
    _exit(0);
}

static void many_claims_at_once_are_one_bundle_each(void **state)
{
    enum { CLAIMERS = 12 };
    _cleanup_(spool_list_free) struct spool_list list;
    pid_t pids[CLAIMERS];
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < CLAIMERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(ends[1]);
            claim_one(ends[0]);
        }
    }
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < CLAIMERS; i++)
        reap(pids[i], 0);
    assert_int_equal(spool_list(spool_of(state), &list), 0);
    assert_int_equal(list.n, CLAIMERS);
    for (size_t i = 0; i < list.n; i++)
        assert_true(list.bundles[i].is_complete && list.bundles[i].error == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(a_claim_has_a_journal_which_goes_with_it_where_nothing_is_left),
        SPOOL_TEST(an_id_with_a_journal_alone_is_taken),
        SPOOL_TEST(what_another_works_on_is_busy_and_what_it_left_is_taken_over),
        SPOOL_TEST(what_is_not_there_is_not_adopted),
        SPOOL_TEST(a_complete_bundle_without_a_journal_gets_one),
        SPOOL_TEST(two_that_send_to_different_places_leave_each_others_bundles_alone),
        SPOOL_TEST(a_destination_that_is_too_long_is_none),
        SPOOL_TEST(the_notes_of_the_one_before_are_there),
        SPOOL_TEST(what_is_replaced_after_it_was_sent_is_unsent_again),
        SPOOL_TEST(the_bundle_of_a_crash_is_found_again),
        SPOOL_TEST(the_bundle_of_a_crash_is_found_even_if_there_is_nothing_of_it),
        SPOOL_TEST(an_adopter_replaces_what_it_found_and_ends_what_was_half_made),
        SPOOL_TEST(an_adopter_may_remove_what_was_half_made),
        SPOOL_TEST(a_removed_bundle_leaves_nothing_and_others_stay),
        SPOOL_TEST(foreign_files_are_neither_taken_nor_removed),
        SPOOL_TEST(a_planted_journal_keeps_its_bundle_alone),
        SPOOL_TEST(a_directory_that_is_renamed_meanwhile_stays_the_one),
        SPOOL_TEST(what_a_sink_writes_is_read_at_once_and_after_its_end),
        SPOOL_TEST(a_killed_holder_holds_nothing),
        SPOOL_TEST(what_the_holder_executed_holds_nothing),
        SPOOL_TEST(letting_go_counts_for_forked_children_too),
        SPOOL_TEST(of_many_adopters_one_has_it),
        SPOOL_TEST(many_claims_at_once_are_one_bundle_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
