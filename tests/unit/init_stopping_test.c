/* Being asked to stop: since when, and how long that leaves. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "init/stopping.h"

#define START 1000000ll

static void the_first_signal_counts(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    assert_int_equal(stopping_deadline(&stopping, START), INT64_MAX);
    assert_false(stopping_is_asked(&stopping, START));
    stopping_ask(&stopping, SIGTERM, 30, START);
    stopping_ask(&stopping, SIGTERM, 30, START + 20000);
    assert_int_equal(stopping_deadline(&stopping, START + 20000), START + 28000);
    assert_true(stopping_is_asked(&stopping, START + 20000));
}

static void at_the_deadline_it_still_stands(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    stopping_ask(&stopping, SIGTERM, 30, START);
    assert_int_equal(stopping_deadline(&stopping, START + 28001), START + 28000);
}

static void whoever_is_still_there_later_was_not_to_be_killed(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    stopping_ask(&stopping, SIGTERM, 30, START);
    assert_int_equal(stopping_deadline(&stopping, START + 30000), INT64_MAX);
    stopping_ask(&stopping, SIGTERM, 30, START + 60000);
    assert_int_equal(stopping_deadline(&stopping, START + 60000), START + 88000);
}

static void a_short_time_out_leaves_something(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    stopping_ask(&stopping, SIGTERM, 1, START);
    assert_int_equal(stopping_deadline(&stopping, START), START + 500);
}

static void without_a_limit_nothing_presses(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    stopping_ask(&stopping, SIGINT, 0, START);
    assert_int_equal(stopping_deadline(&stopping, START), INT64_MAX);
    assert_true(stopping_is_asked(&stopping, START + 1000000000));
}

static void sigterm_is_meant_and_other_signals_may_not_be(void **state)
{
    struct stopping stopping = {0};

    (void)state;
    stopping_ask(&stopping, SIGQUIT, 30, START); /* a thread dump, of Java */
    assert_true(stopping_is_asked(&stopping, START + 29999));
    assert_false(stopping_is_asked(&stopping, START + 30000));
    stopping_ask(&stopping, SIGTERM, 30, START + 40000);
    stopping_ask(&stopping, SIGINT, 30, START + 50000);
    assert_true(stopping_is_asked(&stopping, START + 1000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_signal_counts),
        cmocka_unit_test(at_the_deadline_it_still_stands),
        cmocka_unit_test(whoever_is_still_there_later_was_not_to_be_killed),
        cmocka_unit_test(a_short_time_out_leaves_something),
        cmocka_unit_test(without_a_limit_nothing_presses),
        cmocka_unit_test(sigterm_is_meant_and_other_signals_may_not_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
