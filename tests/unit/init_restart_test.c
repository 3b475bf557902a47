/* When a program that crashed is started again, and how often. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "init/restart.h"

#define MINUTE 60000ll
#define HOUR (60 * MINUTE)

/* One life after another, each as long; returns the pause before the next one. */
static int64_t crash(struct restarts *restarts, uint32_t limit, int64_t life, int64_t *now)
{
    int64_t pause = restart_pause(restarts, limit, life, *now += life);

    if (pause >= 0)
        restart_count(restarts, *now += pause);
    return pause;
}

static void the_pause_doubles_up_to_a_minute(void **state)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    struct restarts restarts = {0};
    int64_t now = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++)
        assert_int_equal(crash(&restarts, 0, 100, &now), seconds[i] * 1000);
}

static void after_ten_minutes_of_life_the_pause_is_short_again(void **state)
{
    struct restarts restarts = {0};
    int64_t now = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        crash(&restarts, 0, 100, &now);
    assert_int_equal(crash(&restarts, 0, 10 * MINUTE - 1, &now), 60000);
    assert_int_equal(crash(&restarts, 0, 10 * MINUTE, &now), 1000);
    assert_int_equal(crash(&restarts, 0, 100, &now), 2000);
}

static void the_limit_is_of_one_hour(void **state)
{
    struct restarts restarts = {0};
    int64_t now = 1000;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(crash(&restarts, 3, 100, &now) > 0);
    assert_int_equal(restarts_of_last_hour(&restarts, now), 3);
    assert_int_equal(crash(&restarts, 3, 100, &now), -1);
    now += HOUR;
    assert_int_equal(restarts_of_last_hour(&restarts, now), 0);
    assert_true(crash(&restarts, 3, 100, &now) > 0);
    assert_int_equal(restarts.n, 4);
}

static void a_limit_of_none_is_reached_by_nobody(void **state)
{
    struct restarts restarts = {0};
    int64_t now = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(crash(&restarts, 0, i, &now) > 0);
    assert_int_equal(restarts.n, 1000);
}

static void the_highest_limit_is_never_reached(void **state)
{
    struct restarts restarts = {0};
    int64_t now = 0;

    (void)state;
    for (int i = 0; i < 500; i++)
        assert_true(crash(&restarts, MOST_RESTARTS, 0, &now) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pause_doubles_up_to_a_minute),
        cmocka_unit_test(after_ten_minutes_of_life_the_pause_is_short_again),
        cmocka_unit_test(the_limit_is_of_one_hour),
        cmocka_unit_test(a_limit_of_none_is_reached_by_nobody),
        cmocka_unit_test(the_highest_limit_is_never_reached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
