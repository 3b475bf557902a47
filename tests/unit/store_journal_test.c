/* A bundle's journal: its text, its lock, and what may be planted in its place. */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "store/journal.h"
#include "store_spool_testing.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* The working directory, and no spool. */
static int dir_fd(void)
{
    static int fd = -1;

    close_fd(fd);
    fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct journal *new_one(void)
{
    struct journal *journal;

    assert_int_equal(journal_create(dir_fd(), ID, &journal), 0);
    return journal;
}

static int take(struct journal **ret)
{
    return journal_open(dir_fd(), ID, geteuid(), ret);
}

static struct journal *taken(void)
{
    struct journal *journal;

    assert_int_equal(take(&journal), 0);
    return journal;
}

static void parse(const char *text, struct journal_notes *ret)
{
    assert_int_equal(journal_parse(text, strlen(text), ret), strlen(text));
}

static void what_is_noted_is_read_back(void **state)
{
    const struct journal_crash crash = {
        .pid = 4711, .realtime = {1795253425, 123456789}, .boottime = {12, 5}};
    struct journal *journal = new_one();
    struct journal_notes notes, peeked;

    (void)state;
    assert_int_equal(journal_note_destination(journal, "s3://bucket/a prefix/\n%41\xc3\xa4"), 0);
    assert_int_equal(journal_note_crash(journal, &crash), 0);
    assert_int_equal(journal_note_core(journal, "/cores/core.%p"), 0);
    assert_int_equal(journal_note_core_stays(journal), 0);
    assert_int_equal(journal_note_upload(journal, ARTIFACT_CORE, "2~abc+/="), 0);
    assert_int_equal(journal_note_unverified(journal, ARTIFACT_STACKTRACE), 0);
    assert_int_equal(journal_note_sent(journal, ARTIFACT_STACKTRACE, UINT64_MAX, SHA), 0);
    assert_int_equal(journal_note_sent_all(journal), 0);
    journal_noted(journal, &notes);
    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &peeked), 0);
    assert_memory_equal(&notes, &peeked, sizeof(notes));
    journal_close(journal);

    journal = taken();
    journal_noted(journal, &notes);
    journal_close(journal);
    assert_string_equal(notes.destination, "s3://bucket/a prefix/\n%41\xc3\xa4");
    assert_int_equal(notes.crash.pid, 4711);
    assert_memory_equal(&notes.crash.realtime, &crash.realtime, sizeof(crash.realtime));
    assert_memory_equal(&notes.crash.boottime, &crash.boottime, sizeof(crash.boottime));
    assert_string_equal(notes.core, "/cores/core.%p");
    assert_true(notes.core_stays);
    assert_string_equal(notes.artifacts[ARTIFACT_CORE].upload_id, "2~abc+/=");
    assert_false(notes.artifacts[ARTIFACT_CORE].is_sent);
    assert_true(notes.artifacts[ARTIFACT_STACKTRACE].is_sent);
    assert_false(journal_is_verified(&notes));
    assert_int_equal(notes.artifacts[ARTIFACT_STACKTRACE].size, UINT64_MAX);
    assert_string_equal(notes.artifacts[ARTIFACT_STACKTRACE].sha256, SHA);
    assert_true(notes.is_sent);
}

static void the_text_is_a_line_a_note(void **state)
{
    struct journal *journal = new_one();

    (void)state;
    journal_note_destination(journal, "s3://b/\033[2J x");
    journal_note_upload(journal, ARTIFACT_LIBS, "u");
    journal_note_sent(journal, ARTIFACT_CRASH_JSON, 12, SHA);
    journal_note_anew(journal, ARTIFACT_CRASH_JSON);
    journal_close(journal);
    assert_holds(JOURNAL, "coreinit journal 1\ndestination s3://b/%1B[2J%20x\n"
                          "upload .libs.zip u\nsent .crash.json 12 " SHA "\nanew .crash.json\n");
}

static void a_journal_is_its_owners_alone(void **state)
{
    struct stat file;

    (void)state;
    journal_close(new_one());
    assert_int_equal(lstat(JOURNAL, &file), 0);
    assert_int_equal(file.st_mode, S_IFREG | 0600);
}

static void the_last_note_of_a_kind_counts_and_the_same_is_not_written_twice(void **state)
{
    struct journal *journal = new_one();
    struct journal_notes notes;
    struct stat before, after;

    (void)state;
    journal_note_upload(journal, ARTIFACT_CORE, "a rather long one");
    journal_note_upload(journal, ARTIFACT_CORE, "other");
    journal_note_sent_all(journal);
    assert_int_equal(stat(JOURNAL, &before), 0);
    journal_note_upload(journal, ARTIFACT_CORE, "other");
    journal_note_sent_all(journal);
    journal_note_anew(journal, ARTIFACT_LIBS); /* nor what takes nothing back */
    journal_note_anew(journal, ARTIFACT_LIBS);
    assert_int_equal(stat(JOURNAL, &after), 0);
    assert_int_equal(after.st_size, before.st_size + (off_t)strlen("anew .libs.zip\n"));
    journal_noted(journal, &notes);
    assert_string_equal(notes.artifacts[ARTIFACT_CORE].upload_id, "other");
    journal_close(journal);
}

static void what_was_replaced_counts_as_unsent(void **state)
{
    struct journal_notes notes;

    (void)state;
    parse("coreinit journal 1\nsent .stacktrace 3 " SHA "\nsent .core.zip 3 " SHA "\nsent-all\n"
          "anew .stacktrace\n",
          &notes);
    assert_false(notes.artifacts[ARTIFACT_STACKTRACE].is_sent);
    assert_true(notes.artifacts[ARTIFACT_CORE].is_sent);
    assert_false(notes.is_sent);
}

static void what_is_not_understood_changes_nothing(void **state)
{
    static const char *const lines[] = {
        "",
        " ",
        "sent",
        "sent ",
        "sent-al",
        "sent-all-of-it",
        "future note",
        "destination",
        "destination ",
        "destination %",
        "destination %4",
        "destination %zz",
        "destination a%00b",
        "crash",
        "crash 1",
        "crash 1 2.3 4.5",
        "crash -1 2.000000000 4.000000000",
        "crash 4294967297 2.000000000 4.000000000",
        "crash 1 99999999999999999999.000000000 4.000000000",
        "crash 1 2.000000000 4.00000000x",
        "upload",
        "upload .core.zip",
        "upload .core x",
        "upload core.zip x",
        "sent .core.zip",
        "sent .core.zip 12",
        "sent .core.zip x " SHA,
        "sent .core.zip 18446744073709551616 " SHA,
        "sent .core.zip 12 " SHA "0",
        "sent .core.zip 12 0123",
        "sent ../../etc/passwd 12 " SHA,
        "anew .core.zip.part",
    };
    struct journal_notes none = {0}, notes;
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        snprintf(text, sizeof(text), "coreinit journal 1\n%s\n", lines[i]);
        parse(text, &notes);
        assert_memory_equal(&notes, &none, sizeof(notes));
    }
}

static void values_that_are_too_long_are_passed_over(void **state)
{
    static char text[3 * JOURNAL_LINE];
    struct journal_notes notes, none = {0};
    static const char *const keys[] = {"destination ", "core ", "upload .core.zip ", "sent ", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        for (size_t length = 1400; length < 2 * JOURNAL_LINE; length *= 2) {
            int n = snprintf(text, sizeof(text), "coreinit journal 1\n%s", keys[i]);
            const bool fits = strcmp(keys[i], "core ") == 0 && length < PATH_MAX;

            memset(text + n, 'x', length);
            strcpy(text + n + length, "\nsent-all\n");
            parse(text, &notes);
            assert_true(notes.is_sent);
            notes.is_sent = false;
            assert_int_equal(memcmp(&notes, &none, sizeof(notes)) != 0, fits);
        }
}

/* A line that was cut short is as good as none, be it that it reads well. */
static void a_torn_last_line_is_passed_over_and_cut_off(void **state)
{
    struct journal *journal = new_one();
    struct journal_notes notes;

    (void)state;
    journal_note_upload(journal, ARTIFACT_CORE, "first");
    journal_close(journal);
    assert_int_equal(system("printf 'upload .core.zip sec' >> " JOURNAL), 0);

    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), 0);
    assert_string_equal(notes.artifacts[ARTIFACT_CORE].upload_id, "first");
    journal = taken();
    assert_int_equal(journal_note_sent_all(journal), 0);
    journal_close(journal);
    assert_holds(JOURNAL, "coreinit journal 1\nupload .core.zip first\nsent-all\n");
}

static void a_journal_that_was_only_begun_is_an_empty_one(void **state)
{
    static const char *const texts[] = {"", "c", "coreinit journal 1"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct journal *journal;

        make_file(JOURNAL, texts[i]);
        journal = taken();
        journal_note_sent_all(journal);
        journal_close(journal);
        assert_holds(JOURNAL, "coreinit journal 1\nsent-all\n");
        assert_int_equal(unlink(JOURNAL), 0);
    }
}

static void write_block(const char *name, int byte, size_t size)
{
    _cleanup_free_ char *block = malloc(size);
    _cleanup_close_ int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    memset(block, byte, size);
    assert_int_equal(write_all(fd, block, size), 0);
}

static void garbage_is_left_alone(void **state)
{
    static const char *const texts[] = {"garbage", "coreinit journal 2\n", "\n", "\nsent-all\n"};
    struct journal_notes notes;
    struct journal *journal;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        make_file(JOURNAL, texts[i]);
        assert_int_equal(take(&journal), -EBADMSG);
        assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), -EBADMSG);
        assert_holds(JOURNAL, texts[i]);
        assert_int_equal(unlink(JOURNAL), 0);
    }
    write_block(JOURNAL, 0, 4096);
    assert_int_equal(take(&journal), -EBADMSG);
    write_block(JOURNAL, 0, 1);
    assert_int_equal(take(&journal), -EBADMSG);
    write_block(JOURNAL, 'x', JOURNAL_MOST_BYTES + 1);
    assert_int_equal(take(&journal), -EFBIG);
    assert_int_equal(truncate(JOURNAL, (off_t)1 << 34), 0);
    assert_int_equal(take(&journal), -EFBIG);
    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), -EFBIG);
}

static void zeros_between_lines_hide_nothing(void **state)
{
    static const char text[] = "coreinit journal 1\nsent-all\n\0\0\0\n\0anew .core.zip\ncore /c\n";
    struct journal_notes notes;

    (void)state;
    assert_int_equal(journal_parse(text, sizeof(text) - 1, &notes), sizeof(text) - 1);
    assert_true(notes.is_sent);
    assert_string_equal(notes.core, "/c");
}

static void a_journal_does_not_grow_without_end(void **state)
{
    struct journal *journal = new_one();
    struct journal_notes notes;
    struct stat file;
    char id[1025];
    int r = 0;

    (void)state;
    memset(id, '%', sizeof(id));
    id[1024] = '\0';
    for (int i = 0; r == 0 && i < 1000; i++) {
        id[0] = (char)('a' + i % 26);
        r = journal_note_upload(journal, ARTIFACT_CORE, id);
    }
    assert_int_equal(r, -EFBIG);
    journal_noted(journal, &notes);
    assert_int_not_equal(notes.artifacts[ARTIFACT_CORE].upload_id[0], id[0]);
    journal_close(journal);
    assert_int_equal(stat(JOURNAL, &file), 0);
    assert_true(file.st_size <= JOURNAL_MOST_BYTES);
    journal_close(taken());
}

static void what_can_not_be_noted_is_refused(void **state)
{
    static char longest[2 * PATH_MAX];
    struct journal *journal = new_one();

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    assert_int_equal(journal_note_destination(journal, ""), -EINVAL);
    assert_int_equal(journal_note_destination(journal, longest), -EINVAL);
    assert_int_equal(journal_note_core(journal, longest), -EINVAL);
    assert_int_equal(journal_note_upload(journal, ARTIFACT_CORE, longest), -EINVAL);
    assert_int_equal(journal_note_sent(journal, ARTIFACT_CORE, 1, "0123"), -EINVAL);
    longest[PATH_MAX - 1] = '\0';
    memset(longest, '\n', PATH_MAX - 1); /* the longest that three bytes a character make */
    assert_int_equal(journal_note_core(journal, longest), 0);
    journal_close(journal);
    journal_close(taken());
}

static void a_locked_journal_is_busy_until_it_is_closed(void **state)
{
    struct journal *journal = new_one(), *other;
    struct journal_notes notes;

    (void)state;
    assert_int_equal(take(&other), -EBUSY);
    assert_int_equal(journal_create(dir_fd(), ID, &other), -EEXIST);
    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), 0);
    journal_close(journal);
    journal = taken();
    assert_int_equal(take(&other), -EBUSY);
    journal_close(journal);
}

static void a_removed_journal_is_nobodys(void **state)
{
    struct journal *journal = new_one(), *other;

    (void)state;
    journal_remove(journal);
    assert_absent(JOURNAL);
    assert_int_equal(take(&other), -ENOENT);
    other = new_one(); /* its name is free at once */
    journal_remove(journal);
    assert_present(JOURNAL); /* and another's by now */
    journal_close(journal);
    journal_close(other);
}

static void what_is_planted_is_neither_opened_nor_followed(void **state)
{
    struct journal *journal;
    struct journal_notes notes;

    (void)state;
    make_file("real", "coreinit journal 1\n");
    assert_int_equal(symlink("real", JOURNAL), 0);
    assert_int_equal(take(&journal), -ELOOP);
    assert_int_equal(journal_create(dir_fd(), ID, &journal), -EEXIST);
    assert_int_equal(unlink(JOURNAL), 0);
    assert_int_equal(symlink("dangling", JOURNAL), 0);
    assert_int_equal(journal_create(dir_fd(), ID, &journal), -EEXIST);
    assert_absent("dangling");
    assert_int_equal(unlink(JOURNAL), 0);
    assert_int_equal(link("real", JOURNAL), 0);
    assert_int_equal(take(&journal), -EPERM);
    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), -EPERM);
    assert_int_equal(unlink(JOURNAL), 0);
    assert_int_equal(mkfifo(JOURNAL, 0600), 0);
    assert_int_equal(take(&journal), -EPERM); /* at once: nobody writes there */
    assert_int_equal(unlink(JOURNAL), 0);
    assert_int_equal(mkdir(JOURNAL, 0700), 0);
    assert_int_equal(take(&journal), -EPERM);
    assert_int_equal(rmdir(JOURNAL), 0);
    assert_holds("real", "coreinit journal 1\n");
}

static void a_foreign_or_special_file_is_refused(void **state)
{
    struct journal *journal;

    (void)state;
    if (geteuid() != 0)
        skip();
    make_file(JOURNAL, "coreinit journal 1\n");
    assert_int_equal(chown(JOURNAL, 65534, 65534), 0);
    assert_int_equal(take(&journal), -EPERM);
    assert_int_equal(journal_open(dir_fd(), ID, 65534, &journal), 0); /* as root on an NFS */
    journal_close(journal);
    assert_int_equal(unlink(JOURNAL), 0);
    if (mknod(JOURNAL, S_IFCHR | 0600, makedev(1, 5)) < 0) /* /dev/zero: endless */
        skip();
    assert_int_equal(take(&journal), -EPERM);
}

struct notes_of_thread {
    struct journal *journal;
    enum artifact_kind kind;
};

static void *note_often(void *argument)
{
    const struct notes_of_thread *thread = argument;
    struct journal_notes notes;
    char id[32];

    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof(id), "upload-%d", i);
        if (journal_note_upload(thread->journal, thread->kind, id) < 0)
            return argument;
        journal_noted(thread->journal, &notes);
        if (strcmp(notes.artifacts[thread->kind].upload_id, id) != 0)
            return argument;
    }
    return NULL;
}

static void threads_note_side_by_side(void **state)
{
    struct journal *journal = new_one();
    struct notes_of_thread threads[ARTIFACT_KINDS];
    pthread_t ids[ARTIFACT_KINDS];
    struct journal_notes notes;

    (void)state;
    for (int i = 0; i < ARTIFACT_KINDS; i++) {
        threads[i] = (struct notes_of_thread){journal, (enum artifact_kind)i};
        assert_int_equal(pthread_create(&ids[i], NULL, note_often, &threads[i]), 0);
    }
    for (int i = 0; i < ARTIFACT_KINDS; i++) {
        void *failed;

        assert_int_equal(pthread_join(ids[i], &failed), 0);
        assert_null(failed);
    }
    journal_close(journal);
    assert_int_equal(journal_peek(dir_fd(), ID, geteuid(), &notes), 0);
    for (int i = 0; i < ARTIFACT_KINDS; i++)
        assert_string_equal(notes.artifacts[i].upload_id, "upload-49");
}

/* Makes flock(2) fail in this process, as on a file system without locks. */
static void fail_locks(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(77);
}

/* In a child: cmocka's asserts don't work there. */
static int without_locks(int error)
{
    struct journal *journal, *other;
    const int fd = dir_fd();

    fail_locks(error);
    if (journal_create(fd, ID, &journal) != 0 || journal_note_sent_all(journal) != 0)
        return 1;
    if (journal_open(fd, ID, geteuid(), &other) != -ENOLCK)
        return 2;
    journal_close(journal);
    if (journal_open(fd, ID, geteuid(), &other) != -ENOLCK)
        return 3;
    if (journal_open_unlocked(fd, ID, geteuid(), &other) != 0)
        return 4;
    journal_remove(other);
    journal_close(other);
    return 0;
}

static void without_locks_a_new_bundle_works_and_an_old_one_is_left_alone(void **state)
{
    static const int errors[] = {ENOSYS, ENOLCK, EOPNOTSUPP};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        const pid_t pid = fork();
        int status;

        if (pid == 0)
            _exit(without_locks(errors[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status == 77 << 8)
            skip();
        assert_int_equal(status, 0);
    }
}

/* A file size limit stands for the full disk: the write is cut short in the middle of a line. */
static int note_on_full_disk(struct journal *journal)
{
    const struct rlimit limit = {.rlim_cur = 64, .rlim_max = RLIM_INFINITY};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    if (journal_note_core(journal, "/cores/a/long/path/which/does/not/fit/into/64") != -EFBIG)
        return 1;
    setrlimit(RLIMIT_FSIZE, &none);
    return journal_note_sent_all(journal) != 0 ? 2 : 0;
}

static void a_note_that_does_not_fit_leaves_no_half_a_line(void **state)
{
    struct journal *journal = new_one();
    const pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(note_on_full_disk(journal));
    reap(pid, 0);
    journal_close(journal);
    assert_holds(JOURNAL, "coreinit journal 1\nsent-all\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(what_is_noted_is_read_back),
        SPOOL_TEST(the_text_is_a_line_a_note),
        SPOOL_TEST(a_journal_is_its_owners_alone),
        SPOOL_TEST(the_last_note_of_a_kind_counts_and_the_same_is_not_written_twice),
        SPOOL_TEST(what_was_replaced_counts_as_unsent),
        SPOOL_TEST(what_is_not_understood_changes_nothing),
        SPOOL_TEST(values_that_are_too_long_are_passed_over),
        SPOOL_TEST(a_torn_last_line_is_passed_over_and_cut_off),
        SPOOL_TEST(a_journal_that_was_only_begun_is_an_empty_one),
        SPOOL_TEST(garbage_is_left_alone),
        SPOOL_TEST(zeros_between_lines_hide_nothing),
        SPOOL_TEST(a_journal_does_not_grow_without_end),
        SPOOL_TEST(what_can_not_be_noted_is_refused),
        SPOOL_TEST(a_locked_journal_is_busy_until_it_is_closed),
        SPOOL_TEST(a_removed_journal_is_nobodys),
        SPOOL_TEST(what_is_planted_is_neither_opened_nor_followed),
        SPOOL_TEST(a_foreign_or_special_file_is_refused),
        SPOOL_TEST(threads_note_side_by_side),
        SPOOL_TEST(without_locks_a_new_bundle_works_and_an_old_one_is_left_alone),
        SPOOL_TEST(a_note_that_does_not_fit_leaves_no_half_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
