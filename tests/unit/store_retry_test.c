/* When a request is tried again. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "store/s3.h"
#include "store/s3_retry.h"
#include "util/log.h"

static struct s3_retry retry;

static void init(const char *attempts)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;

    log_max_level = LEVEL_ERROR;
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    if (attempts)
        setenv("AWS_MAX_ATTEMPTS", attempts, 1);
    else
        unsetenv("AWS_MAX_ATTEMPTS");
    assert_int_equal(aws_profile_load(&profile), 0);
    s3_retry_init(&retry, profile);
}

static void attempts_are_as_many_as_set(void **state)
{
    static const struct {
        const char *text;
        unsigned attempts;
    } settings[] = {{NULL, 8}, {"", 8},   {"1", 1},  {"100", 100}, {"101", 8},
                    {"0", 8},  {"-1", 8}, {"3x", 8}, {"x", 8}};

    (void)state;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        init(settings[i].text);
        assert_int_equal(retry.max_attempts, settings[i].attempts);
    }
}

static void the_last_attempt_is_the_last(void **state)
{
    unsigned pause;

    (void)state;
    init("3");
    assert_true(s3_retry_again(&retry, 1, false, &pause));
    assert_true(s3_retry_again(&retry, 2, false, &pause));
    assert_false(s3_retry_again(&retry, 3, false, &pause));
}

static void pauses_are_any_up_to_a_limit_that_doubles(void **state)
{
    static const unsigned limits[] = {1000, 2000, 4000, 8000, 16000, 20000, 20000};
    unsigned pause;

    (void)state;
    for (unsigned attempt = 1; attempt <= sizeof(limits) / sizeof(limits[0]); attempt++) {
        unsigned longest = 0, shortest = UINT_MAX;

        for (int i = 0; i < 1000; i++) {
            init("100");
            assert_true(s3_retry_again(&retry, attempt, false, &pause));
            assert_in_range(pause, 0, limits[attempt - 1]);
            longest = pause > longest ? pause : longest;
            shortest = pause < shortest ? pause : shortest;
        }
        /* That a thousand fall into one half has a chance of 2^-999. */
        assert_true(longest > limits[attempt - 1] / 2 && shortest < limits[attempt - 1] / 2);
    }
}

static void a_server_that_is_down_is_not_tried_for_ever(void **state)
{
    unsigned pause, n = 0;

    (void)state;
    init(NULL);
    while (s3_retry_again(&retry, 1, false, &pause))
        n++;
    assert_int_equal(n, 100);
    init(NULL);
    for (n = 0; s3_retry_again(&retry, 1, true, &pause); n++)
        ;
    assert_int_equal(n, 50);
    s3_retry_succeeded(&retry, 2);
    assert_true(s3_retry_again(&retry, 1, false, &pause));
    assert_false(s3_retry_again(&retry, 1, false, &pause));
    for (int i = 0; i < 5; i++)
        s3_retry_succeeded(&retry, 1);
    assert_true(s3_retry_again(&retry, 1, false, &pause));
    for (int i = 0; i < 1000; i++)
        s3_retry_succeeded(&retry, 1);
    assert_int_equal(retry.tokens, 500);
}

static void what_no_retry_mends_is_hopeless(void **state)
{
    static const int hopeless[] = {EACCES, ENOENT, EINVAL, EPROTO, EFBIG, ENAMETOOLONG, ENOKEY};
    static const int others[] = {EIO,    ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH,
                                 ENOMEM, EBADMSG,   EAGAIN,       0};

    (void)state;
    for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++)
        assert_true(s3_is_hopeless(-hopeless[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(s3_is_hopeless(-others[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_are_as_many_as_set),
        cmocka_unit_test(the_last_attempt_is_the_last),
        cmocka_unit_test(pauses_are_any_up_to_a_limit_that_doubles),
        cmocka_unit_test(a_server_that_is_down_is_not_tried_for_ever),
        cmocka_unit_test(what_no_retry_mends_is_hopeless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
