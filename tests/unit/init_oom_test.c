/* Telling an OOM kill from another SIGKILL by the memory cgroup's counters. */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "init/oom.h"

/* The texts of cgroup-v2.rst's and cgroup-v1/memory.rst's files, as Linux 6.1 prints them. */
#define V2 "low 0\nhigh 12\nmax 1044\noom 3\noom_kill %d\noom_group_kill 0\n"
#define V1 "oom_kill_disable 0\nunder_oom 0\noom_kill %d\n"

static const char mounted_v1[] =
    "33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:13 - cgroup cgroup rw,memory\n";
static const char mounted_v2[] =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 "
    "rw,nsdelegate,memory_recursiveprot\n";

static void assert_found(const char *cgroups, const char *mountinfo, const char *expected)
{
    char path[PATH_MAX];

    assert_true(oom_find(cgroups, mountinfo, path, sizeof(path)));
    assert_string_equal(path, expected);
}

static void the_counters_of_version_2_are_found(void **state)
{
    (void)state;
    assert_found("0::/\n", mounted_v2, "/sys/fs/cgroup/memory.events");
    assert_found("0::/system.slice/a.service", mounted_v2,
                 "/sys/fs/cgroup/system.slice/a.service/memory.events");
}

static void the_counters_of_version_1_are_found(void **state)
{
    static const char cgroups[] = "12:pids:/docker/abc\n5:cpu,memory:/docker/abc\n1:name=systemd:/"
                                  "docker/abc\n0::/docker/abc\n";

    (void)state;
    assert_found(cgroups, mounted_v1, "/sys/fs/cgroup/memory/docker/abc/memory.oom_control");
    assert_found("4:memory:/\n0::/\n",
                 "34 25 0:29 / /sys/fs/cgroup/mem rw - cgroup none rw,cpu,memory\n",
                 "/sys/fs/cgroup/mem/memory.oom_control");
}

static void in_a_container_it_is_the_mounts_root(void **state)
{
    (void)state;
    assert_found("4:memory:/docker/abc\n",
                 "34 25 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                 "/sys/fs/cgroup/memory/memory.oom_control");
    assert_found("4:memory:/docker/abc/below\n",
                 "34 25 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                 "/sys/fs/cgroup/memory/below/memory.oom_control");
    assert_found("0::/../../abc\n", mounted_v2, "/sys/fs/cgroup/memory.events");
    assert_found("0::/docker/abcd\n",
                 "34 25 0:29 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
                 "/sys/fs/cgroup/memory.events");
}

static void other_mounts_are_not_taken_for_it(void **state)
{
    static const char *const others[] = {
        "33 25 0:29 / /sys/fs/cgroup/cpu rw shared:13 - cgroup cgroup rw,cpu,memory_not\n",
        "33 25 0:29 / /sys/fs/cgroup/memory rw shared:13 - tmpfs tmpfs rw,memory\n",
        "33 25 0:29 / / rw shared:13 - ext4 /dev/sda1 rw\n",
        "33 25 0:29\n",
        "- cgroup cgroup rw,memory\n",
        "",
    };
    char path[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(oom_find("4:memory:/\n", others[i], path, sizeof(path)));
    assert_false(oom_find("4:memory:/\n0::/\n", mounted_v2, path, sizeof(path)));
    assert_false(oom_find("", mounted_v2, path, sizeof(path)));
    assert_false(oom_find("garbage\n::\n4:memory\n", mounted_v1, path, sizeof(path)));
    assert_false(oom_find("0::/\n", mounted_v2, path, 8));
}

static void the_count_is_read_from_either_version(void **state)
{
    uint64_t count;

    (void)state;
    assert_true(oom_parse("low 0\nhigh 0\nmax 7\noom 1\noom_kill 5\noom_group_kill 9\n", &count));
    assert_int_equal(count, 5);
    assert_true(oom_parse("oom_kill_disable 1\nunder_oom 0\noom_kill 17\n", &count));
    assert_int_equal(count, 17);
    assert_false(oom_parse("oom_kill_disable 0\nunder_oom 0\n", &count));
    assert_false(oom_parse("oom_kill -1\n", &count));
    assert_false(oom_parse("oom_kill \n", &count));
    assert_false(oom_parse("", &count));
}

static struct oom counters(const char *format, int count)
{
    struct oom oom = {.fd = memfd_create("counters", MFD_CLOEXEC), .next = INT64_MAX};

    assert_true(oom.fd >= 0 && dprintf(oom.fd, format, count) > 0);
    oom_begin(&oom, 0);
    return oom;
}

static void set(const struct oom *oom, const char *format, int count)
{
    assert_int_equal(ftruncate(oom->fd, 0), 0);
    assert_int_equal(lseek(oom->fd, 0, SEEK_SET), 0);
    assert_true(dprintf(oom->fd, format, count) > 0);
}

static void who_dies_while_the_count_rises_was_killed_by_the_kernel(void **state)
{
    static struct crash_record record;
    struct oom oom = counters(V2, 4);

    (void)state;
    assert_false(oom_claims(&oom));
    set(&oom, V2, 5);
    assert_true(oom_claims(&oom));
    oom_testify(&oom, &record);
    assert_non_null(strstr(record.memory_events[0], "oom_kill 4\n"));
    assert_non_null(strstr(record.memory_events[1], "oom_kill 5\n"));
    /* The next one, whom somebody else killed. */
    assert_false(oom_claims(&oom));
    oom_testify(&oom, &record);
    assert_string_equal(record.memory_events[0], record.memory_events[1]);
    close(oom.fd);
}

static void of_two_kills_at_once_each_has_its_death(void **state)
{
    static struct crash_record record;
    struct oom oom = counters(V1, 0);

    (void)state;
    set(&oom, V1, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(oom_claims(&oom));
        oom_testify(&oom, &record);
        assert_non_null(strstr(record.memory_events[0], "oom_kill 0\n"));
        assert_non_null(strstr(record.memory_events[1], "oom_kill 2\n"));
    }
    assert_false(oom_claims(&oom));
    close(oom.fd);
}

static void a_kill_of_nobody_we_know_is_no_later_deaths(void **state)
{
    struct oom oom = counters(V2, 0);

    (void)state;
    set(&oom, V2, 1);
    oom_look(&oom, 5000);
    oom_look(&oom, 10000);
    assert_int_equal(oom.told, 0); /* whoever it was may still be dying */
    oom_look(&oom, 20000);
    assert_false(oom_claims(&oom));
    close(oom.fd);
}

static void what_was_before_the_programs_start_is_not_its_death(void **state)
{
    struct oom oom = counters(V2, 0);

    (void)state;
    set(&oom, V2, 3);
    oom_begin(&oom, 0);
    assert_false(oom_claims(&oom));
    close(oom.fd);
}

static void without_counters_no_kill_is_the_kernels(void **state)
{
    static struct crash_record record;
    struct oom none = {.fd = -1, .next = INT64_MAX}, old = counters("under_oom %d\n", 0);

    (void)state;
    oom_begin(&none, 0);
    assert_false(oom_claims(&none));
    oom_testify(&none, &record);
    assert_string_equal(record.memory_events[0], "");
    assert_string_equal(record.memory_events[1], "");
    assert_false(oom_claims(&old));
    close(old.fd);
}

static void a_text_that_is_too_long_is_cut(void **state)
{
    static struct crash_record record;
    struct oom oom = counters("oom_kill %d\n", 0);

    (void)state;
    set(&oom, "oom_kill %d\n", 1);
    for (int i = 0; i < 4096; i++)
        assert_true(dprintf(oom.fd, "a_new_event %d\n", i) > 0);
    assert_true(oom_claims(&oom));
    oom_testify(&oom, &record);
    assert_int_equal(strlen(record.memory_events[1]), sizeof(record.memory_events[1]) - 1);
    close(oom.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counters_of_version_2_are_found),
        cmocka_unit_test(the_counters_of_version_1_are_found),
        cmocka_unit_test(in_a_container_it_is_the_mounts_root),
        cmocka_unit_test(other_mounts_are_not_taken_for_it),
        cmocka_unit_test(the_count_is_read_from_either_version),
        cmocka_unit_test(who_dies_while_the_count_rises_was_killed_by_the_kernel),
        cmocka_unit_test(of_two_kills_at_once_each_has_its_death),
        cmocka_unit_test(a_kill_of_nobody_we_know_is_no_later_deaths),
        cmocka_unit_test(what_was_before_the_programs_start_is_not_its_death),
        cmocka_unit_test(without_counters_no_kill_is_the_kernels),
        cmocka_unit_test(a_text_that_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
