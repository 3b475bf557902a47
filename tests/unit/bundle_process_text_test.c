/* Facts from the raw text of /proc/PID/stat, status and limits, whole and damaged. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "bundle/process_text.h"
#include "util/io.h"

static void assert_comm(const char *stat, const char *expected)
{
    char comm[16];

    process_comm(stat, comm, sizeof(comm));
    assert_string_equal(comm, expected);
}

static void the_name_is_between_the_outer_parentheses(void **unused)
{
    (void)unused;
    assert_comm("7 (app) S 1 7", "app");
    assert_comm("7 (a) R (b)) S 1 7", "a) R (b)");
    assert_comm("7 () S 1", "");
    assert_comm("7 (a name that is too long) S 1", "a name that is ");
    assert_comm("", "");
    assert_comm("7 (cut", "");
    assert_comm(")(", "");
}

static void ids_are_the_real_ones(void **unused)
{
    (void)unused;
    static const char status[] = "Name:\tUid:\nUid:\t1000\t0\t2\t3\nGid:\t4294967294\t0\t0\t0\n";

    assert_int_equal(process_real_id(status, "Uid:"), 1000);
    assert_int_equal(process_real_id(status, "Gid:"), 4294967294);
    assert_int_equal(process_real_id("Name:\tx\nUid:", "Uid:"), -1);
    assert_int_equal(process_real_id("Uid:\tx", "Uid:"), -1);
    assert_int_equal(process_real_id("", "Uid:"), -1);
}

/* Cut anywhere, a limit is unknown or what it is: never another number. */
static void a_limit_that_is_cut_is_unknown(void **unused)
{
    (void)unused;
    static const char whole[] =
        "Max cpu time              unlimited            9        seconds \n"
        "Max open files            1024                 524288   files   \n";
    char text[sizeof(whole)];
    uint64_t soft = 0, hard = 0;

    assert_true(process_limit(whole, "Max cpu time", &soft, &hard));
    assert_true(soft == PROCESS_UNLIMITED);
    assert_int_equal(hard, 9);
    assert_false(process_limit(whole, "Max processes", &soft, &hard));
    assert_false(process_limit("Max open files many few \n", "Max open files", &soft, &hard));
    for (size_t i = 0; i < sizeof(whole); i++) {
        memcpy(text, whole, i);
        text[i] = '\0';
        if (process_limit(text, "Max open files", &soft, &hard)) {
            assert_int_equal(soft, 1024);
            assert_int_equal(hard, 524288);
        }
    }
}

/* The kernel's own text, of this very process; valgrind has opinions of its own on other limits. */
static void limits_are_those_of_getrlimit(void **unused)
{
    (void)unused;
    static const struct {
        int resource;
        const char *name;
    } cases[] = {{RLIMIT_NPROC, "Max processes"},         {RLIMIT_CORE, "Max core file size"},
                 {RLIMIT_STACK, "Max stack size"},        {RLIMIT_AS, "Max address space"},
                 {RLIMIT_RTTIME, "Max realtime timeout"}, {RLIMIT_NICE, "Max nice priority"}};
    char text[4096];

    assert_true(read_text_at(-1, "/proc/self/limits", text, sizeof(text)) > 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rlimit limit;
        uint64_t soft, hard;

        assert_int_equal(getrlimit((__rlimit_resource_t)cases[i].resource, &limit), 0);
        assert_true(process_limit(text, cases[i].name, &soft, &hard));
        assert_true(soft == (limit.rlim_cur == RLIM_INFINITY ? PROCESS_UNLIMITED : limit.rlim_cur));
        assert_true(hard == (limit.rlim_max == RLIM_INFINITY ? PROCESS_UNLIMITED : limit.rlim_max));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_is_between_the_outer_parentheses),
        cmocka_unit_test(ids_are_the_real_ones),
        cmocka_unit_test(a_limit_that_is_cut_is_unknown),
        cmocka_unit_test(limits_are_those_of_getrlimit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
