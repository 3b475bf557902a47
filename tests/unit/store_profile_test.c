/* The AWS profile files' grammar, on texts; and finding credentials, on files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/aws_credentials.h"
#include "store/aws_profile.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

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

/* Files in a HOME of our own. */

static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "HOME",
};

static int set_up(void **state)
{
    char *home = strdup("/tmp/profile-test-XXXXXX");

    if (!mkdtemp(home) || chdir(home) < 0 || mkdir(".aws", 0700) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    *state = home;
    log_max_level = LEVEL_ERROR;
    return setenv("HOME", home, 1);
}

static int tear_down(void **state)
{
    char command[128];
    int r;

    snprintf(command, sizeof(command), "rm -rf %s", (char *)*state);
    r = chdir("/") < 0 ? -1 : system(command);
    free(*state);
    return r;
}

static void write_file(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_text(fd, text), 0);
}

static char why[1024];

static int find(struct aws_credentials *ret)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;

    assert_int_equal(aws_profile_load(&profile), 0);
    return aws_credentials_find(profile, ret, why, sizeof(why));
}

#define BOTH(id) "aws_access_key_id=" id "\naws_secret_access_key=s-" id "\n"

static void assert_found(const char *id, const char *secret, const char *token)
{
    struct aws_credentials found;

    assert_int_equal(find(&found), 0);
    assert_string_equal(found.access_key_id, id);
    assert_string_equal(found.secret_access_key, secret);
    assert_string_equal(found.session_token, token);
    assert_null(strstr(found.place, secret));
    aws_credentials_wipe(&found);
    assert_string_equal(found.secret_access_key, "");
}

static void the_environment_goes_before_the_files(void **state)
{
    (void)state;
    write_file(".aws/credentials", "[default]\n" BOTH("file") "aws_session_token=file\n");
    assert_found("file", "s-file", "file");
    setenv("AWS_ACCESS_KEY_ID", "env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s-env", 1);
    assert_found("env", "s-env", ""); /* and nothing of the file is mixed in */
    setenv("AWS_SESSION_TOKEN", "token", 1);
    assert_found("env", "s-env", "token");
    setenv("AWS_ACCESS_KEY_ID", "", 1);
    assert_found("file", "s-file", "file");
}

static void the_credentials_file_goes_before_the_config_file(void **state)
{
    (void)state;
    write_file(".aws/config", "[default]\n" BOTH("conf") "[profile p]\n" BOTH("p-conf"));
    assert_found("conf", "s-conf", "");
    write_file(".aws/credentials", "[default]\n" BOTH("cred"));
    assert_found("cred", "s-cred", "");
    setenv("AWS_PROFILE", "p", 1);
    assert_found("p-conf", "s-p-conf", "");
}

static void the_files_are_where_the_environment_says(void **state)
{
    struct aws_credentials found;

    (void)state;
    write_file(".aws/credentials", "[default]\n" BOTH("home"));
    write_file("elsewhere", "[default]\n" BOTH("elsewhere"));
    setenv("AWS_SHARED_CREDENTIALS_FILE", "~/elsewhere", 1);
    assert_found("elsewhere", "s-elsewhere", "");
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    assert_int_equal(find(&found), -ENOKEY);

    unsetenv("HOME");
    setenv("AWS_SHARED_CREDENTIALS_FILE", "elsewhere", 1);
    assert_found("elsewhere", "s-elsewhere", "");
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    assert_int_equal(find(&found), -ENOKEY);
}

static void the_place_is_told_where_they_were_found(void **state)
{
    struct aws_credentials found;

    (void)state;
    write_file("keys", "[deep]\n" BOTH("file"));
    setenv("AWS_PROFILE", "deep", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "keys", 1);
    assert_int_equal(find(&found), 0);
    assert_string_equal(found.place, "profile deep of keys");
    setenv("AWS_ACCESS_KEY_ID", "env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s-env", 1);
    assert_int_equal(find(&found), 0);
    assert_string_equal(found.place, "the environment");
}

static void what_is_missing_is_told_with_the_places(void **state)
{
    struct aws_credentials found;

    (void)state;
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/keys", 1);
    assert_int_equal(find(&found), -ENOKEY);
    assert_non_null(strstr(why, "AWS_ACCESS_KEY_ID is not set"));
    assert_non_null(strstr(why, "/nonexistent/keys (No such file or directory)"));
    assert_string_equal(found.place, "");
}

static void half_a_key_is_an_error(void **state)
{
    struct aws_credentials found;

    (void)state;
    write_file(".aws/credentials", "[default]\naws_access_key_id=x\n");
    assert_int_equal(find(&found), -EINVAL);
    setenv("AWS_ACCESS_KEY_ID", "env", 1);
    assert_int_equal(find(&found), -EINVAL);
}

static void a_value_that_would_break_a_header_is_refused(void **state)
{
    struct aws_credentials found;
    char long_value[8300];

    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret\n", 1);
    assert_int_equal(find(&found), -EINVAL);
    assert_string_equal(found.secret_access_key, ""); /* nothing is left behind */

    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    memset(long_value, 'T', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = '\0';
    setenv("AWS_SESSION_TOKEN", long_value, 1);
    assert_int_equal(find(&found), -EINVAL);
    assert_string_equal(found.secret_access_key, "");
}

static void a_file_that_never_ends_or_is_no_file_is_survived(void **state)
{
    struct aws_credentials found;

    (void)state;
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/zero", 1);
    assert_int_equal(find(&found), -ENOKEY);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/", 1);
    assert_int_equal(find(&found), -ENOKEY);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "fifo", 1);
    assert_int_equal(find(&found), -ENOKEY);
}

int main(void)
{
#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_in_its_profile),
        cmocka_unit_test(config_writes_profile_before_the_name_except_for_default),
        cmocka_unit_test(blanks_comments_and_line_ends_are_no_part_of_a_value),
        cmocka_unit_test(the_last_of_several_counts),
        cmocka_unit_test(nested_settings_are_not_the_profiles_own),
        cmocka_unit_test(a_token_of_4_kib_is_whole),
        cmocka_unit_test(a_value_that_does_not_fit_is_not_cut),
        cmocka_unit_test(any_bytes_are_read_without_harm),
        FILE_TEST(the_environment_goes_before_the_files),
        FILE_TEST(the_credentials_file_goes_before_the_config_file),
        FILE_TEST(the_files_are_where_the_environment_says),
        FILE_TEST(the_place_is_told_where_they_were_found),
        FILE_TEST(what_is_missing_is_told_with_the_places),
        FILE_TEST(half_a_key_is_an_error),
        FILE_TEST(a_value_that_would_break_a_header_is_refused),
        FILE_TEST(a_file_that_never_ends_or_is_no_file_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
