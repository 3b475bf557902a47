/* The reason why a crash left no core: real crashes where the kernel really wrote none. */

#include "capture_testing.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "capture/kernel_core.h"
#include "capture/why_no_core.h"

static char why[1024];

/* Looks for the core of a crash that left none. */
static void ask(const struct crash_record *record, const char *pattern, bool uses_pid)
{
    struct core_settings settings = {.uses_pid = uses_pid};
    struct kernel_core *core = NULL;

    assert_true(strlen(pattern) < sizeof(settings.pattern));
    strcpy(settings.pattern, pattern);
    assert_int_equal(kernel_core_find_by(record, &settings, &core, why, sizeof(why)), -ENOENT);
    assert_int_equal(why[strcspn(why, "\n")], '\0');
}

static void expect(const char *words)
{
    if (!strstr(why, words))
        fail_msg("'%s' is not in '%s'", words, why);
}

/* A crash whose record says nothing that would explain a missing core. */
static void record_plain_crash(const char *cwd, struct crash_record *ret)
{
    crash_in(cwd, 0, write_to_null, ret);
    strcpy(ret->limits, "Max core file size        unlimited            unlimited   bytes\n");
}

static void a_limit_of_0_is_named_with_its_mend(void **state)
{
    struct crash_record record;

    crash_in(*state, 0, write_to_null, &record);
    ask(&record, "core", false);
    expect("its core limit was 0 bytes");
    expect("--ulimit core=-1");
    expect("ECS");
}

static void a_limit_below_a_page_is_too_small(void **state)
{
    struct crash_record record;

    crash_in(*state, 4095, write_to_null, &record);
    assert_int_equal(record.wait_code, CLD_KILLED);
    ask(&record, "core", false);
    expect("its core limit was 4095 bytes");
}

static void a_file_size_limit_of_0_is_named(void **state)
{
    struct crash_record record;

    record_plain_crash(*state, &record);
    strcat(record.limits, "Max file size             0                    0           bytes\n");
    ask(&record, "core", false);
    expect("RLIMIT_FSIZE");
}

static void a_pipe_is_named_with_its_program(void **state)
{
    struct crash_record record;

    crash_in(*state, 0, write_to_null, &record);
    ask(&record, "|/usr/lib/systemd/systemd-coredump %P %u %g %s", false);
    expect("pipes cores to /usr/lib/systemd/systemd-coredump (on the host, coredumpctl has it);");
    expect("sysctl kernel.core_pattern=");
    ask(&record, "|/usr/share/apport/apport -p%p", false);
    expect("pipes cores to /usr/share/apport/apport;");
    ask(&record, "|", false);
    expect("pipes cores to ;");
}

static void a_socket_is_named(void **state)
{
    struct crash_record record;

    crash_in(*state, 0, write_to_null, &record);
    ask(&record, "@/run/coredump.socket", false);
    expect("the socket /run/coredump.socket");
}

static void an_empty_pattern_turns_cores_off(void **state)
{
    struct crash_record record;

    record_plain_crash(*state, &record);
    ask(&record, "", false);
    expect("names no file, which turns cores off");
    ask(&record, "%F", false);
    expect("names no file");
}

static void a_relative_pattern_needs_a_known_directory(void **state)
{
    struct crash_record record;

    record_plain_crash(*state, &record);
    record.cwd[0] = '\0';
    ask(&record, "core", false);
    expect("the program's last working directory isn't known");
}

static void a_missing_directory_is_named(void **state)
{
    struct crash_record record;
    char pattern[256];

    record_plain_crash(*state, &record);
    snprintf(pattern, sizeof(pattern), "%s/gone/core.%%p", (char *)*state);
    ask(&record, pattern, false);
    expect("/gone, where core_pattern");
    expect("No such file or directory");
    ask(&record, "dumps/core.%p", false);
    expect("/dumps, where core_pattern");
    write_file(in_directory(*state, "gone"), "", 0);
    ask(&record, pattern, false);
    expect("Not a directory");
}

static void a_directory_that_the_uid_cannot_write_is_named(void **state)
{
    static const struct {
        mode_t mode;
        bool writable;
    } cases[] = {{0755, false}, {0775, true}, {0707, false}, {01777, true}, {0070, true}};
    struct crash_record record;

    if (getuid() != 0)
        skip();
    record_plain_crash(*state, &record);
    strcpy(record.status, "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n"
                          "Groups:\t50 60 \nCapEff:\t00000000a80425f9\n");
    assert_int_equal(chown(*state, 0, 60), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(chmod(*state, cases[i].mode), 0);
        ask(&record, "core", false);
        expect(cases[i].writable ? "undumpable" : "not writable for the program's uid 1000");
    }
    /* CAP_DAC_OVERRIDE, as Docker's root has it. */
    assert_int_equal(chmod(*state, 0500), 0);
    strcpy(strstr(record.status, "CapEff"), "CapEff:\t00000000a80425fb\n");
    ask(&record, "core", false);
    expect("undumpable");
}

/* What a process of its own mount namespace is told, on a tmpfs with a file of a size in it. */
static int in_mount_namespace(const char *directory, const char *options, unsigned long flags,
                              size_t size, const char *expected)
{
    struct crash_record record;
    int status;
    pid_t pid;

    record_plain_crash(directory, &record);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct core_settings settings = {.pattern = "core"};
        struct kernel_core *core;
        _cleanup_close_ int fd = -1;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", directory, "tmpfs", flags, options) < 0)
            _exit(77);
        fd = open(in_directory(directory, "filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        for (size_t i = 0; i < size; i += sizeof(why))
            if (write(fd, why, sizeof(why)) <= 0)
                break;
        if (kernel_core_find_by(&record, &settings, &core, why, sizeof(why)) != -ENOENT)
            _exit(1);
        _exit(strstr(why, expected) ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void a_read_only_or_full_file_system_is_named(void **state)
{
    int r =
        in_mount_namespace(*state, "size=64k", MS_RDONLY, 0, "is read-only; mount a volume there");

    if (r == 77) {
        print_message("skipped: no mounts without privilege\n");
        skip();
    }
    assert_int_equal(r, 0);
    assert_int_equal(in_mount_namespace(*state, "size=64k", 0, 128 << 10, "is full"), 0);
    assert_int_equal(in_mount_namespace(*state, "size=64k,nr_inodes=2", 0, 0, "is full"), 0);
}

static void become_undumpable_and_crash(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    write_to_null();
}

static void an_undumpable_process_is_the_last_guess(void **state)
{
    struct crash_record record;

    crash_in(*state, RLIM_INFINITY, become_undumpable_and_crash, &record);
    assert_int_equal(record.wait_code, CLD_KILLED);
    ask(&record, "core", false);
    expect("undumpable");
    expect("prctl(PR_SET_DUMPABLE, 1)");
    expect("fs.suid_dumpable");
}

static void a_directory_in_the_cores_way_is_named(void **state)
{
    struct crash_record record;
    struct core_settings settings;

    if (core_settings_read(&settings) < 0 || strcmp(settings.pattern, "core") != 0 ||
        settings.uses_pid)
        skip();
    assert_int_equal(mkdir(in_directory(*state, "core"), 0755), 0);
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    assert_int_equal(record.wait_code, CLD_KILLED);
    begin_log();
    ask(&record, "core", false);
    end_log();
    expect("what lies where it was to be was refused");
    expect("/core: it is not a regular file");
}

static void a_file_in_the_cores_way_that_the_kernel_does_not_write_to_is_named(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_plain_crash(*state, &record);
    write_file(path, "", 0);
    ask(&record, "core", false);
    expect("undumpable");
    assert_int_equal(link(path, in_directory(*state, "second")), 0);
    ask(&record, "core", false);
    expect("/core: it has several links");
    ask(&record, path, false);
    expect("/core: it has several links");
    assert_int_equal(unlink(in_directory(*state, "second")), 0);
    strcpy(record.status, "Uid:\t12345\t12345\t12345\t12345\n");
    ask(&record, "core", false);
    expect("/core: it belongs to another user");
    /* Which of many it would have been isn't known. */
    ask(&record, "core%t", false);
    assert_null(strstr(why, "/core: "));
}

static void a_core_that_was_written_and_is_gone_is_called_so(void **state)
{
    struct crash_record record;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    assert_int_equal(record.wait_code, CLD_DUMPED);
    assert_int_equal(unlink(in_directory(*state, "core")), 0);
    ask(&record, "core", false);
    expect("the kernel wrote one, but there is no 'core' in /tmp/capture-test-");
    ask(&record, "/nowhere/core", false);
    expect("the kernel wrote one, but there is no '/nowhere/core':");
}

static void a_core_that_was_written_and_overwritten_is_called_so(void **state)
{
    struct crash_record record, later;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    crash_in(*state, RLIM_INFINITY, write_to_null, &later);
    begin_log();
    ask(&record, "core", false);
    end_log();
    expect("the kernel wrote one, but all there is was refused");
    expect("it is the core of pid");
}

static void sigkill_leaves_none_and_memory_is_the_usual_cause(void **state)
{
    struct crash_record record;

    record_plain_crash(*state, &record);
    record.wait_status = SIGKILL;
    ask(&record, "core", false);
    expect("SIGKILL leaves no core");
    expect("memory");
    record.wait_status = SIGTERM;
    ask(&record, "core", false);
    expect("signal 15 leaves no core");
}

static void without_proc_no_core_can_be_trusted(void **state)
{
    struct crash_record record;

    record_plain_crash(*state, &record);
    record.stat[0] = '\0';
    ask(&record, "core", false);
    expect("mount /proc");
}

/* Of this very process, as if it were being killed. */
static bool foresee(const char *cwd, const char *pattern, uint64_t core_limit)
{
    struct core_settings settings = {0};
    struct crash_record record;
    struct crash_facts facts;

    record_plain_crash(cwd, &record);
    record.wait_code = CLD_KILLED;
    facts = crash_facts_of(&record);
    facts.core_limit = core_limit;
    strcpy(settings.pattern, pattern);
    why[0] = '\0';
    return why_no_core_would_come(&record, &facts, &settings, why, sizeof(why));
}

static void before_a_crash_nothing_is_guessed(void **state)
{
    assert_false(foresee(*state, "core.%p", UINT64_MAX));
    assert_string_equal(why, "");
}

static void before_a_crash_the_same_reasons_are_named(void **state)
{
    assert_true(foresee(*state, "|/bin/catch", UINT64_MAX));
    expect("pipes cores to /bin/catch");
    assert_true(foresee(*state, "core", 0));
    expect("its core limit was 0 bytes");
    assert_true(foresee(*state, "", UINT64_MAX));
    expect("turns cores off");
    assert_true(foresee(*state, "/nonexistent/%p/core", UINT64_MAX));
    expect("/nonexistent, where core_pattern");
}

static void the_directory_is_named_as_far_as_it_is_literal(void **state)
{
    struct core_settings settings = {0};
    struct crash_record record = {.cwd = "/srv/app"};
    const struct {
        const char *pattern, *directory;
    } cases[] = {
        {"core", "/srv/app"}, {"cores/core.%p", "/srv/app/cores"},  {"%h/core", "/srv/app"},
        {"/core", "/"},       {"/var/cores/%e/core", "/var/cores"}, {"/var/core.%p", "/var"},
    };
    char directory[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        strcpy(settings.pattern, cases[i].pattern);
        core_directory(&record, &settings, directory, sizeof(directory));
        assert_string_equal(directory, cases[i].directory);
    }
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_limit_of_0_is_named_with_its_mend),
        CORE_TEST(a_limit_below_a_page_is_too_small),
        CORE_TEST(a_file_size_limit_of_0_is_named),
        CORE_TEST(a_pipe_is_named_with_its_program),
        CORE_TEST(a_socket_is_named),
        CORE_TEST(an_empty_pattern_turns_cores_off),
        CORE_TEST(a_relative_pattern_needs_a_known_directory),
        CORE_TEST(a_missing_directory_is_named),
        CORE_TEST(a_directory_that_the_uid_cannot_write_is_named),
        CORE_TEST(a_read_only_or_full_file_system_is_named),
        CORE_TEST(an_undumpable_process_is_the_last_guess),
        CORE_TEST(a_directory_in_the_cores_way_is_named),
        CORE_TEST(a_file_in_the_cores_way_that_the_kernel_does_not_write_to_is_named),
        CORE_TEST(a_core_that_was_written_and_is_gone_is_called_so),
        CORE_TEST(a_core_that_was_written_and_overwritten_is_called_so),
        CORE_TEST(sigkill_leaves_none_and_memory_is_the_usual_cause),
        CORE_TEST(without_proc_no_core_can_be_trusted),
        CORE_TEST(before_a_crash_nothing_is_guessed),
        CORE_TEST(before_a_crash_the_same_reasons_are_named),
        CORE_TEST(the_directory_is_named_as_far_as_it_is_literal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
