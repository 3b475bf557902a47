/* What a crash record's raw text says. */

#include "capture_testing.h"

#include "capture/crash_facts.h"

static void sleep_and_segv(void)
{
    usleep(300 * 1000);
    write_to_null();
}

static int64_t milliseconds(const struct timespec *time, const struct timespec *since)
{
    return (time->tv_sec - since->tv_sec) * 1000 + (time->tv_nsec - since->tv_nsec) / 1000000;
}

static void a_real_record_is_understood(void **state)
{
    const struct rlimit files = {1 << 20, RLIM_INFINITY};
    struct timespec before, after;
    struct crash_record record;
    struct crash_facts facts;
    struct rlimit saved;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &files), 0);
    clock_gettime(CLOCK_REALTIME, &before);
    crash_in(*state, 12345, sleep_and_segv, &record);
    clock_gettime(CLOCK_REALTIME, &after);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);

    facts = crash_facts_of(&record);
    assert_int_equal(facts.signo, SIGSEGV);
    assert_false(facts.of_child);
    assert_int_equal(facts.pid, record.pid);
    assert_int_equal(facts.ppid, getpid());
    assert_string_equal(facts.comm, "capture_crash_f");
    assert_true(facts.knows_core_limit);
    assert_int_equal(facts.core_limit, 12345);
    assert_int_equal(facts.file_limit, 1 << 20);
    assert_int_equal(facts.fs_uid, getuid());
    assert_int_equal(facts.fs_gid, getgid());
    assert_int_equal(facts.ignores_modes, getuid() == 0);

    /* The kernel counts ticks of 10 ms, downwards. */
    assert_true(facts.knows_start);
    assert_true(milliseconds(&facts.started, &before) >= -15);
    assert_true(milliseconds(&after, &facts.started) >= 300);
}

static void an_empty_record_leaves_everything_unknown(void **state)
{
    static struct crash_record record;
    struct crash_facts facts;

    (void)state;
    record.wait_code = CLD_KILLED;
    record.wait_status = SIGABRT;
    record.pid = 9;
    facts = crash_facts_of(&record);
    assert_int_equal(facts.signo, SIGABRT);
    assert_int_equal(facts.pid, 9);
    assert_int_equal(facts.ppid, 0);
    assert_string_equal(facts.comm, "");
    assert_false(facts.knows_start);
    assert_false(facts.knows_core_limit);
    assert_int_equal(facts.file_limit, UINT64_MAX);
    assert_int_equal(facts.fs_uid, -1);
    assert_false(facts.ignores_modes);
    assert_false(crash_facts_in_group(&facts, &record, 0));
}

static void only_signals_that_dump_core_count(void **state)
{
    static const struct {
        int code, status, signo;
    } cases[] = {
        {CLD_DUMPED, SIGSEGV, SIGSEGV}, {CLD_KILLED, SIGQUIT, SIGQUIT},
        {CLD_KILLED, SIGSYS, SIGSYS},   {CLD_KILLED, SIGKILL, 0},
        {CLD_KILLED, SIGTERM, 0},       {CLD_EXITED, 0, 0},
        {CLD_EXITED, SIGSEGV, 0},       {CLD_EXITED, 128 + SIGSEGV, SIGSEGV},
        {CLD_EXITED, 128 + SIGTERM, 0}, {CLD_EXITED, 255, 0},
        {CLD_EXITED, INT_MIN, 0},
    };
    static struct crash_record record;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct crash_facts facts;

        record.wait_code = cases[i].code;
        record.wait_status = cases[i].status;
        facts = crash_facts_of(&record);
        assert_int_equal(facts.signo, cases[i].signo);
        assert_int_equal(facts.of_child, cases[i].code == CLD_EXITED);
    }
}

static void a_name_full_of_brackets_and_spaces_is_no_obstacle(void **state)
{
    static struct crash_record record;
    struct crash_facts facts;

    (void)state;
    record.ended_boottime = (struct timespec){.tv_sec = 1000, .tv_nsec = 500000000};
    record.ended_realtime = (struct timespec){.tv_sec = 1795000000};
    strcpy(record.stat, "7 (a) Z 1 ) (b) Z 1 1 1 0 -1 4228684 407 0 1 0 0 0 0 0 20 0 1 0 99925 0 0 "
                        "18446744073709551615 0");
    facts = crash_facts_of(&record);
    assert_string_equal(facts.comm, "a) Z 1 ) (b");
    assert_true(facts.knows_start);
    /* 999.25 s after boot, 1.25 s before the end. */
    assert_int_equal(facts.started.tv_sec, 1795000000 - 2);
    assert_int_equal(facts.started.tv_nsec, 750000000);
}

static void a_start_after_the_end_is_not_believed(void **state)
{
    static struct crash_record record;

    (void)state;
    record.ended_boottime.tv_sec = 10;
    record.ended_realtime.tv_sec = 1795000000;
    strcpy(record.stat, "7 (x) Z 1 1 1 0 -1 4228684 407 0 1 0 0 0 0 0 20 0 1 0 99925 0 0 0 0");
    assert_false(crash_facts_of(&record).knows_start);
}

/* A damaged record: none of it may overflow. */
static void times_of_no_clock_are_not_believed(void **state)
{
    static const struct {
        struct timespec uptime, ended;
        const char *ticks;
    } cases[] = {
        {{1000, 0}, {1795000000, 0}, "18446744073709551615"},
        {{INT64_MAX, 0}, {1795000000, 0}, "1"},
        {{INT64_MIN, 0}, {1795000000, 0}, "1"},
        {{1000, 0}, {INT64_MAX, INT64_MAX}, "1"},
        {{9223372036, INT64_MAX}, {1795000000, 0}, "1"},
        {{9223372035, 0}, {INT64_MIN / 1000000000, 0}, "1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct crash_record record;

        record.ended_boottime = cases[i].uptime;
        record.ended_realtime = cases[i].ended;
        snprintf(record.stat, sizeof(record.stat),
                 "7 (x) Z 1 1 1 0 -1 4228684 407 0 1 0 0 0 0 0 20 0 1 0 %s 0 0 0 0",
                 cases[i].ticks);
        assert_false(crash_facts_of(&record).knows_start);
    }
}

static void the_innermost_pid_is_the_processs_own(void **state)
{
    static struct crash_record record;

    (void)state;
    record.pid = 4711;
    strcpy(record.status, "Name:\tx\nPid:\t4711\nNSpid:\t4711\t12\t7\nNSpgid:\t1\t1\t1\n");
    assert_int_equal(crash_facts_of(&record).pid, 7);
    strcpy(record.status, "Name:\tx\nPid:\t4711\n");
    assert_int_equal(crash_facts_of(&record).pid, 4711);
    strcpy(record.status, "NSpid:");
    assert_int_equal(crash_facts_of(&record).pid, 4711);
}

static void a_parent_is_named_as_the_process_names_it_or_not_at_all(void **state)
{
    static struct crash_record record;

    (void)state;
    strcpy(record.stat, "4711 (x) Z 12 1 1 0");
    strcpy(record.status, "Pid:\t4711\nNSpid:\t4711\nNSpgid:\t1\n");
    assert_int_equal(crash_facts_of(&record).ppid, 12);
    strcpy(record.status, "Pid:\t4711\nNSpid:\t4711\t2\nNSpgid:\t1\t1\n");
    assert_int_equal(crash_facts_of(&record).ppid, 0);
    strcpy(record.status, "Pid:\t4711\n");
    assert_int_equal(crash_facts_of(&record).ppid, 0);
}

static void a_name_that_procfs_escapes_or_cuts_is_unknown(void **state)
{
    static const struct {
        const char *stat, *comm;
    } cases[] = {
        {"7 (a\\012b) Z 1", ""},
        {"7 (a\\\\b) Z 1", ""},
        {"7 () Z 1", ""},
        {"7 (a", ""},
        {"7 )a( Z", ""},
        {"7", ""},
        {"7 (a) Z", "a"},
        {"7 (0123456789abcdef) Z 1", "0123456789abcdef"},
        {"7 (0123456789abcdefg) Z 1", ""},
    };
    static struct crash_record record;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        strcpy(record.stat, cases[i].stat);
        assert_string_equal(crash_facts_of(&record).comm, cases[i].comm);
    }
}

static void groups_are_those_of_the_status(void **state)
{
    static struct crash_record record;
    struct crash_facts facts;

    (void)state;
    strcpy(record.status, "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t10 20 30 \n"
                          "NStgid:\t99\n");
    facts = crash_facts_of(&record);
    assert_int_equal(facts.fs_uid, 4);
    assert_int_equal(facts.fs_gid, 8);
    assert_true(crash_facts_in_group(&facts, &record, 8));
    assert_true(crash_facts_in_group(&facts, &record, 10));
    assert_true(crash_facts_in_group(&facts, &record, 30));
    assert_false(crash_facts_in_group(&facts, &record, 7));
    assert_false(crash_facts_in_group(&facts, &record, 99));
    assert_false(crash_facts_in_group(&facts, &record, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_real_record_is_understood, enter_directory,
                                        leave_directory),
        cmocka_unit_test(an_empty_record_leaves_everything_unknown),
        cmocka_unit_test(only_signals_that_dump_core_count),
        cmocka_unit_test(a_name_full_of_brackets_and_spaces_is_no_obstacle),
        cmocka_unit_test(a_start_after_the_end_is_not_believed),
        cmocka_unit_test(times_of_no_clock_are_not_believed),
        cmocka_unit_test(the_innermost_pid_is_the_processs_own),
        cmocka_unit_test(a_parent_is_named_as_the_process_names_it_or_not_at_all),
        cmocka_unit_test(a_name_that_procfs_escapes_or_cuts_is_unknown),
        cmocka_unit_test(groups_are_those_of_the_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
