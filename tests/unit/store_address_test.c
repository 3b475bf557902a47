/* Region, endpoint and URL of an object. */

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

#include "store/s3_address.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define CONFIG "/tmp/address-test-config"

static struct s3_settings settings;
static struct s3_address address;
static char why[512];

static int set_up(void **state)
{
    static const char *const variables[] = {"AWS_REGION",
                                            "AWS_DEFAULT_REGION",
                                            "AWS_PROFILE",
                                            "AWS_ENDPOINT_URL_S3",
                                            "AWS_ENDPOINT_URL",
                                            "AWS_SHARED_CREDENTIALS_FILE",
                                            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                                            "AWS_USE_FIPS_ENDPOINT",
                                            "AWS_USE_DUALSTACK_ENDPOINT"};

    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    settings =
        (struct s3_settings){.bucket = "crashes", .key_prefix = "team-a/fb", .allow_http = true};
    log_max_level = LEVEL_ERROR;
    return 0;
}

static int resolve(void)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;

    assert_int_equal(aws_profile_load(&profile), 0);
    return s3_address_resolve(&settings, profile, &address, why, sizeof(why));
}

static void assert_base(const char *expected)
{
    assert_int_equal(resolve(), 0);
    assert_string_equal(address.base, expected);
}

static void assert_region(const char *expected)
{
    assert_int_equal(resolve(), 0);
    assert_string_equal(address.region, expected);
}

static void the_region_is_looked_for_in_order(void **state)
{
    _cleanup_close_ int fd = open(CONFIG, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    (void)state;
    assert_region("us-east-1");
    settings.region = "eu-west-4";
    assert_region("eu-west-4");
    assert_int_equal(write_text(fd, "[default]\nregion = eu-west-3\n"), 0);
    setenv("AWS_CONFIG_FILE", CONFIG, 1);
    assert_region("eu-west-3");
    setenv("AWS_DEFAULT_REGION", "eu-west-2", 1);
    assert_region("eu-west-2");
    setenv("AWS_REGION", "eu-west-1", 1);
    assert_region("eu-west-1");
    unlink(CONFIG);
}

static void a_profile_is_written_as(const char *text)
{
    _cleanup_close_ int fd = open(CONFIG, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write_text(fd, text), 0);
    setenv("AWS_CONFIG_FILE", CONFIG, 1);
}

static void fips_and_dual_stack_have_hosts_of_their_own(void **state)
{
    (void)state;
    setenv("AWS_REGION", "us-gov-west-1", 1);
    setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
    assert_base("https://crashes.s3-fips.us-gov-west-1.amazonaws.com");
    setenv("AWS_USE_DUALSTACK_ENDPOINT", "True", 1);
    assert_base("https://crashes.s3-fips.dualstack.us-gov-west-1.amazonaws.com");
    setenv("AWS_USE_FIPS_ENDPOINT", "false", 1);
    assert_base("https://crashes.s3.dualstack.us-gov-west-1.amazonaws.com");
    unsetenv("AWS_USE_FIPS_ENDPOINT");
    unsetenv("AWS_USE_DUALSTACK_ENDPOINT");
    a_profile_is_written_as("[default]\nuse_fips_endpoint = true\n"
                            "use_dualstack_endpoint = false\n");
    assert_base("https://crashes.s3-fips.us-gov-west-1.amazonaws.com");
    settings.endpoint = "https://minio";
    assert_int_equal(resolve(), -EINVAL);
    assert_non_null(strstr(why, "AWS_USE_FIPS_ENDPOINT"));
    unlink(CONFIG);
}

static void a_profiles_endpoint_comes_behind_the_environments(void **state)
{
    (void)state;
    settings.endpoint = "https://ini.example";
    a_profile_is_written_as("[default]\nendpoint_url = https://profile.example\n");
    assert_base("https://profile.example/crashes");
    setenv("AWS_ENDPOINT_URL", "https://environment.example", 1);
    assert_base("https://environment.example/crashes");
    setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
    assert_base("https://ini.example/crashes");
    unlink(CONFIG);
}

static void without_tls_only_loopback_is_allowed(void **state)
{
    static const char *const own[] = {"http://127.0.0.1:9000", "http://127.255.0.1",
                                      "http://[::1]:9000", "http://localhost", "http://LOCALHOST"};
    static const char *const others[] = {"http://minio",
                                         "http://10.0.0.1",
                                         "http://0.0.0.0",
                                         "http://localhost.example",
                                         "http://127.0.0.1.example",
                                         "http://[::2]",
                                         "http://[::ffff:10.0.0.1]"};

    (void)state;
    settings.allow_http = false;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        settings.endpoint = own[i];
        assert_int_equal(resolve(), 0);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        settings.endpoint = others[i];
        assert_int_equal(resolve(), -EINVAL);
        assert_non_null(strstr(why, "S3_ALLOW_HTTP"));
    }
    settings.endpoint = "https://minio";
    assert_int_equal(resolve(), 0);
}

static void a_move_stays_in_its_partition(void **state)
{
    static const char *const wrong[] = {"",           "us-east-1",    "cn-north-1",   "eu west",
                                        "eu.west.1/", "evil.example", "us-iso-east-1"};

    (void)state;
    setenv("AWS_REGION", "us-east-1", 1);
    assert_int_equal(resolve(), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(s3_address_move(&address, wrong[i]), -EINVAL);
    assert_string_equal(address.base, "https://crashes.s3.us-east-1.amazonaws.com");
    assert_int_equal(s3_address_move(&address, "eu-west-1"), 0);
    assert_string_equal(address.base, "https://crashes.s3.eu-west-1.amazonaws.com");
    settings.endpoint = "https://minio";
    assert_int_equal(resolve(), 0);
    assert_int_equal(s3_address_move(&address, "eu-west-1"), 0);
    assert_string_equal(address.base, "https://minio/crashes");
    assert_string_equal(address.region, "eu-west-1");
}

static void a_location_is_followed_within_s3_alone(void **state)
{
    static const char *const wrong[] = {
        "",
        "https://",
        "/crashes",
        "https://crashes.s3",
        "https://s3.amazonaws.com/crashes",
        "http://crashes.s3.amazonaws.com",
        "https://crashes.s3.amazonaws.com.cn",
        "https://crashes.s3xamazonaws.com",
        "https://xcrashes.s3.amazonaws.com",
        "https://crashes.s3evil.amazonaws.com",
        "https://u:p@crashes.s3.amazonaws.com",
    };

    (void)state;
    setenv("AWS_REGION", "eu-west-1", 1);
    assert_int_equal(resolve(), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(s3_address_follow(&address, wrong[i]), -EINVAL);
    assert_int_equal(
        s3_address_follow(&address, "https://crashes.s3-eu-west-1.amazonaws.com/key?x"), 0);
    assert_string_equal(address.base, "https://crashes.s3-eu-west-1.amazonaws.com");
    setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
    assert_int_equal(resolve(), 0);
    assert_int_equal(s3_address_follow(&address, "https://crashes.s3.amazonaws.com"), -EINVAL);
}

static void aws_is_addressed_in_virtual_host_style(void **state)
{
    (void)state;
    setenv("AWS_REGION", "eu-west-1", 1);
    assert_base("https://crashes.s3.eu-west-1.amazonaws.com");
    setenv("AWS_REGION", "cn-northwest-1", 1);
    assert_base("https://crashes.s3.cn-northwest-1.amazonaws.com.cn");
    setenv("AWS_REGION", "us-isob-east-1", 1);
    assert_base("https://crashes.s3.us-isob-east-1.sc2s.sgov.gov");
    setenv("AWS_REGION", "us-gov-west-1", 1);
    assert_base("https://crashes.s3.us-gov-west-1.amazonaws.com");
}

static void a_bucket_that_is_no_dns_label_goes_into_the_path(void **state)
{
    (void)state;
    setenv("AWS_REGION", "us-east-1", 1);
    settings.bucket = "my.crashes";
    assert_base("https://s3.us-east-1.amazonaws.com/my.crashes");
    settings.bucket = "Old_Bucket";
    assert_base("https://s3.us-east-1.amazonaws.com/Old_Bucket");
}

static void the_endpoint_is_looked_for_in_order(void **state)
{
    (void)state;
    settings.endpoint = "https://ini.example/";
    assert_base("https://ini.example/crashes");
    setenv("AWS_ENDPOINT_URL", "http://general.example:9000", 1);
    assert_base("http://general.example:9000/crashes");
    setenv("AWS_ENDPOINT_URL_S3", "https://[::1]:9000/under/path//", 1);
    assert_base("https://[::1]:9000/under/path/crashes");
    setenv("AWS_ENDPOINT_URL_S3", "", 1);
    assert_base("http://general.example:9000/crashes");
}

static void an_endpoint_that_is_more_or_less_than_a_server_is_refused(void **state)
{
    static const char *const wrong[] = {
        "minio:9000",         "ftp://minio",      "http://",          "http://user@minio",
        "http://u:p@minio",   "http://minio?a=b", "http://minio#a",   "http://min io",
        "http://minio\nx: y", "http://m:99999",   "http://m\xc3\xbc", "https:///path",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        settings.endpoint = wrong[i];
        assert_int_equal(resolve(), -EINVAL);
    }
}

static void assert_url(const char *prefix, const char *name, const char *query,
                       const char *expected)
{
    _cleanup_free_ char *url = NULL;

    settings.key_prefix = prefix;
    assert_int_equal(resolve(), 0);
    assert_int_equal(s3_address_url(&address, name, query, &url), 0);
    assert_string_equal(url, expected);
}

static void a_key_is_encoded_once_and_fully(void **state)
{
    (void)state;
    settings.endpoint = "http://h";
    assert_url("a/b", "c", NULL, "http://h/crashes/a/b/c");
    assert_url("//a//b//", "c", NULL, "http://h/crashes/a//b/c");
    assert_url("", "c", NULL, "http://h/crashes/c");
    assert_url("/", "c", NULL, "http://h/crashes/c");
    assert_url("a b", "-._~", "x=1", "http://h/crashes/a%20b/-._~?x=1");
    assert_url("%41", "+*!'()&?#\xc3\xa9\x01", NULL,
               "http://h/crashes/%2541/%2B%2A%21%27%28%29%26%3F%23%C3%A9%01");
}

static void a_querys_value_is_encoded_with_its_slashes(void **state)
{
    _cleanup_free_ char *encoded = s3_encode_value("a/b+c=d&e%f g~");

    (void)state;
    assert_string_equal(encoded, "a%2Fb%2Bc%3Dd%26e%25f%20g~");
}

static void a_key_that_a_url_cannot_carry_is_refused(void **state)
{
    static const char *const wrong[] = {".", "..", "a/..", "a/./b", "../a"};
    char *url;

    (void)state;
    settings.endpoint = "http://h";
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        settings.key_prefix = wrong[i];
        assert_int_equal(resolve(), -EINVAL);
        settings.key_prefix = "p";
        assert_int_equal(resolve(), 0);
        assert_int_equal(s3_address_url(&address, wrong[i], NULL, &url), -EINVAL);
    }
    assert_url("...", "a/..b/.c", NULL, "http://h/crashes/.../a/..b/.c");
}

static void a_key_has_at_most_1024_bytes(void **state)
{
    char name[1026];
    char *url = NULL;

    (void)state;
    settings.endpoint = "http://h";
    settings.key_prefix = "p";
    assert_int_equal(resolve(), 0);
    memset(name, 0xff, sizeof(name));
    name[1022] = '\0';
    assert_int_equal(s3_address_url(&address, name, "q", &url), 0);
    free(url);
    name[1022] = 'n';
    name[1023] = '\0';
    assert_int_equal(s3_address_url(&address, name, "q", &url), -ENAMETOOLONG);
    name[1023] = 'n';
    name[1024] = 'n';
    name[1025] = '\0';
    settings.key_prefix = name;
    assert_int_equal(resolve(), -EINVAL);
}

int main(void)
{
#define ADDRESS_TEST(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        ADDRESS_TEST(the_region_is_looked_for_in_order),
        ADDRESS_TEST(fips_and_dual_stack_have_hosts_of_their_own),
        ADDRESS_TEST(a_profiles_endpoint_comes_behind_the_environments),
        ADDRESS_TEST(without_tls_only_loopback_is_allowed),
        ADDRESS_TEST(a_move_stays_in_its_partition),
        ADDRESS_TEST(a_location_is_followed_within_s3_alone),
        ADDRESS_TEST(aws_is_addressed_in_virtual_host_style),
        ADDRESS_TEST(a_bucket_that_is_no_dns_label_goes_into_the_path),
        ADDRESS_TEST(the_endpoint_is_looked_for_in_order),
        ADDRESS_TEST(an_endpoint_that_is_more_or_less_than_a_server_is_refused),
        ADDRESS_TEST(a_key_is_encoded_once_and_fully),
        ADDRESS_TEST(a_querys_value_is_encoded_with_its_slashes),
        ADDRESS_TEST(a_key_that_a_url_cannot_carry_is_refused),
        ADDRESS_TEST(a_key_has_at_most_1024_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
