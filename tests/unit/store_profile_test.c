/* The AWS profile files' grammar. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/aws_profile.h"
#include "util/cleanup.h"
#include "util/io.h"

static char value[8192];

static int get(const char *text, enum aws_file file, const char *profile, const char *property)
{
    memset(value, 0, sizeof(value));
    return aws_profile_text_get(text, strlen(text), file, profile, property, value, sizeof(value));
}

#define assert_value(text, file, profile, property, expected)                                      \
    do {                                                                                           \
        assert_int_equal(get(text, file, profile, property), 1);                                   \
        assert_string_equal(value, expected);                                                      \
    } while (0)

static void a_value_is_found_in_its_profile(void **state)
{
    static const char text[] = "[a]\naws_access_key_id = one\n"
                               "[b]\naws_access_key_id=two\n[c]\n";

    (void)state;
    assert_value(text, AWS_FILE_CREDENTIALS, "a", "aws_access_key_id", "one");
    assert_value(text, AWS_FILE_CREDENTIALS, "b", "aws_access_key_id", "two");
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "c", "aws_access_key_id"), 0);
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "A", "aws_access_key_id"), 0);
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "a", "aws_access_key"), 0);
    assert_int_equal(get("", AWS_FILE_CREDENTIALS, "a", "aws_access_key_id"), 0);
}

static void config_writes_profile_before_the_name_except_for_default(void **state)
{
    static const char text[] = "[default]\nregion = eu-west-1\n[profile a b]\nregion = eu-west-2\n"
                               "[  profile\t c ]\nregion = eu-west-3\n[d]\nregion = eu-west-4\n";

    (void)state;
    assert_value(text, AWS_FILE_CONFIG, "default", "region", "eu-west-1");
    assert_value(text, AWS_FILE_CONFIG, "a b", "region", "eu-west-2");
    assert_value(text, AWS_FILE_CONFIG, "c", "region", "eu-west-3");
    assert_int_equal(get(text, AWS_FILE_CONFIG, "d", "region"), 0);
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "a b", "region"), 0);
    assert_value("[profile default]\nregion=x", AWS_FILE_CONFIG, "default", "region", "x");
    assert_value("[profile x]\nregion=y", AWS_FILE_CREDENTIALS, "profile x", "region", "y");
}

static void blanks_comments_and_line_ends_are_no_part_of_a_value(void **state)
{
    static const char text[] = "\xef\xbb\xbf# comment\r\n[a] ; comment\r\n; region = no\r\n"
                               "\tRegion \t=  eu-west-1 \t# behind it\r\n"
                               "secret=a#b;c=d\r\nempty =\r\nnothing\r\n";

    (void)state;
    assert_value(text, AWS_FILE_CREDENTIALS, "a", "region", "eu-west-1");
    assert_value(text, AWS_FILE_CREDENTIALS, "a", "secret", "a#b;c=d");
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "a", "empty"), 0);
    assert_int_equal(get(text, AWS_FILE_CREDENTIALS, "a", "nothing"), 0);
}

static void the_last_of_several_counts(void **state)
{
    (void)state;
    assert_value("[a]\nregion=1\nregion=2\n[b]\nregion=3\n[a]\nregion=4", AWS_FILE_CREDENTIALS, "a",
                 "region", "4");
}

static void nested_settings_are_not_the_profiles_own(void **state)
{
    static const char text[] = "[default]\ns3 =\n  region = nested\n\n  [b]\n  more = x\n"
                               "region = own\n";

    (void)state;
    assert_value(text, AWS_FILE_CONFIG, "default", "region", "own");
    assert_int_equal(get(text, AWS_FILE_CONFIG, "default", "more"), 0);
    assert_value("[default]\n  a = 1\n  b = 2\n", AWS_FILE_CONFIG, "default", "b", "2");
}

static void a_token_of_4_kib_is_whole(void **state)
{
    char text[5000] = "[default]\naws_session_token = ";
    char token[4097];

    (void)state;
    memset(token, 'T', 4096);
    token[4096] = '\0';
    strcat(text, token);
    assert_value(text, AWS_FILE_CREDENTIALS, "default", "aws_session_token", token);
}

static void a_value_that_does_not_fit_is_not_cut(void **state)
{
    static const char text[] = "[a]\nx = 12345\n";
    char small[5];

    (void)state;
    assert_int_equal(aws_profile_text_get(text, strlen(text), AWS_FILE_CREDENTIALS, "a", "x", small,
                                          sizeof(small)),
                     -E2BIG);
}

static void a_value_with_a_nul_is_none(void **state)
{
    static const char text[] = "[a]\nregion=\0\nname=eu\0-west\nlast=x";

    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(aws_profile_text_get(text, sizeof(text) - 1, AWS_FILE_CREDENTIALS, "a",
                                              i ? "region" : "name", value, sizeof(value)),
                         0);
    assert_int_equal(aws_profile_text_get(text, sizeof(text) - 1, AWS_FILE_CREDENTIALS, "a", "last",
                                          value, sizeof(value)),
                     1);
}

static void any_bytes_are_read_without_harm(void **state)
{
    static const char alphabet[] = "[]=#;\n\r \tadefilortu\0\xff";
    char text[64];
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t size = (size_t)rand_r(&seed) % sizeof(text);
        char *exact = malloc(size); /* so that a sanitizer sees the first byte too many */

        for (size_t i = 0; i < size; i++)
            exact[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        aws_profile_text_get(exact, size, round % AWS_FILES, "default", "a", value, sizeof(value));
        free(exact);
    }
}

static void write_file(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_text(fd, text), 0);
}

static void any_profile_of_both_files_is_found(void **state)
{
    char directory[] = "/tmp/profile-test-XXXXXX";
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;

    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chdir(directory), 0);
    write_file("config", "[profile a]\nx=config\ny=config\n[profile b]\n[c]\n[profile e]\nz =\n"
                         "  [profile d]\n");
    write_file("credentials", "[a]\nx=credentials\n");
    setenv("AWS_CONFIG_FILE", "config", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "credentials", 1);
    assert_int_equal(aws_profile_load(&profile), 0);
    assert_int_equal(aws_profile_find(profile, "a", "x", value, sizeof(value)), 1);
    assert_string_equal(value, "credentials");
    assert_int_equal(aws_profile_find(profile, "a", "y", value, sizeof(value)), 1);
    assert_string_equal(value, "config");
    assert_int_equal(aws_profile_find(profile, "a", "y", value, 3), -E2BIG);
    assert_int_equal(aws_profile_find(profile, "b", "x", value, sizeof(value)), 0);
    assert_true(aws_profile_exists(profile, "a"));
    assert_true(aws_profile_exists(profile, "b"));
    assert_false(aws_profile_exists(profile, "c")); /* not as config writes it */
    assert_false(aws_profile_exists(profile, "d")); /* part of z */
    assert_int_equal(unlink("config"), 0);
    assert_int_equal(unlink("credentials"), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void a_setting_is_the_environments_before_the_profiles(void **state)
{
    (void)state;
    setenv("AWS_TEST", "value", 1);
    assert_int_equal(aws_setting(NULL, "AWS_TEST", "test", value, sizeof(value)), 1);
    assert_string_equal(value, "value");
    assert_int_equal(aws_setting(NULL, "AWS_TEST", "test", value, 5), -E2BIG);
    assert_string_equal(value, "");
    setenv("AWS_TEST", "", 1);
    assert_int_equal(aws_setting(NULL, "AWS_TEST", "test", value, sizeof(value)), 0);
    unsetenv("AWS_TEST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_in_its_profile),
        cmocka_unit_test(config_writes_profile_before_the_name_except_for_default),
        cmocka_unit_test(blanks_comments_and_line_ends_are_no_part_of_a_value),
        cmocka_unit_test(the_last_of_several_counts),
        cmocka_unit_test(nested_settings_are_not_the_profiles_own),
        cmocka_unit_test(a_token_of_4_kib_is_whole),
        cmocka_unit_test(a_value_that_does_not_fit_is_not_cut),
        cmocka_unit_test(a_value_with_a_nul_is_none),
        cmocka_unit_test(any_bytes_are_read_without_harm),
        cmocka_unit_test(any_profile_of_both_files_is_found),
        cmocka_unit_test(a_setting_is_the_environments_before_the_profiles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
