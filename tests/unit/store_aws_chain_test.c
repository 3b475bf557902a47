/* Finding credentials where no network is needed: the environment, the files, a program. */

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
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "store/aws_chain.h"
#include "store/container_credentials.h"
#include "store/credential_process.h"
#include "store/sts_endpoint.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* What of the environment has a say. */
static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HOME",
};

static int set_up(void **state)
{
    char *home = strdup("/tmp/chain-test-XXXXXX");

    if (!mkdtemp(home) || chdir(home) < 0 || mkdir(".aws", 0700) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
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

static char why[16384];

static _Atomic int64_t deadline;

static int get(bool force, struct aws_credentials *in_out)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;
    struct aws_chain *chain;
    int r;

    assert_int_equal(aws_profile_load(&profile), 0);
    assert_int_equal(aws_chain_open(profile, "", false, &deadline, &chain), 0);
    r = aws_chain_get(chain, force, in_out, why, sizeof(why));
    aws_chain_close(chain);
    return r;
}

static int find(struct aws_credentials *ret)
{
    memset(ret, 0, sizeof(*ret));
    return get(false, ret);
}

/* That there are none, and that the words say so. */
static void assert_refused(int error, const char *says)
{
    struct aws_credentials found;

    assert_int_equal(find(&found), error);
    assert_string_equal(found.access_key_id, "");
    assert_string_equal(found.secret_access_key, ""); /* nothing is left behind */
    if (!strstr(why, says))
        fail_msg("'%s' isn't in: %s", says, why);
}

#define BOTH(id) "aws_access_key_id=" id "\naws_secret_access_key=s-" id "\n"

static void assert_found(const char *id, const char *secret, const char *token)
{
    struct aws_credentials found;

    assert_int_equal(find(&found), 1);
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
    assert_int_equal(find(&found), 1);
    assert_string_equal(found.place, "profile deep of keys");
    setenv("AWS_ACCESS_KEY_ID", "env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s-env", 1);
    assert_int_equal(find(&found), 1);
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

static void a_profile_that_is_asked_for_must_be_there(void **state)
{
    (void)state;
    write_file(".aws/config", "[default]\n" BOTH("default"));
    setenv("AWS_PROFILE", "gone", 1);
    assert_refused(-ENOKEY, "AWS_PROFILE is gone, but neither ");
    setenv("AWS_PROFILE", "default", 1);
    assert_found("default", "s-default", "");
}

#define PROGRAM "credential_process = sh "

static void a_profiles_program_gives_the_key(void **state)
{
    struct aws_credentials found;

    (void)state;
    write_file("program", "echo noise >&2\n"
                          "printf '{\"Version\": 1, \"AccessKeyId\": \"%s\", \"SecretAccessKey\": "
                          "\"%s\", \"Expiration\": \"2099-01-01T00:00:00Z\"}' \"$1\" \"$2\"\n");
    write_file(".aws/config", "[default]\n" PROGRAM "program \"A\" 's $HOME'x\\ y\n"
                              "[profile key]\n" BOTH("key") PROGRAM "program A B\n");
    assert_refused(-EPROTO, "blank or a control character"); /* it got "s $HOMEx y" */
    write_file(".aws/config", "[default]\n" PROGRAM "program \"A\" '$HOME'\\\"\n");
    assert_refused(-EPROTO, "no JSON object"); /* the quote came through */
    write_file(".aws/config", "[default]\n" PROGRAM "program \"A\" '$HOME'\n"
                              "[profile key]\n" BOTH("key") PROGRAM "program A B\n");
    assert_found("A", "$HOME", "");
    assert_int_equal(find(&found), 1);
    assert_int_equal(found.expires, 4070908800);
    assert_string_equal(found.place, "credential_process of profile default");
    setenv("AWS_PROFILE", "key", 1);
    assert_found("key", "s-key", "");
}

static void a_program_that_fails_is_told_without_its_output(void **state)
{
    (void)state;
    write_file(".aws/config", "[default]\n" PROGRAM "-c 'echo SECRET; echo SECRET >&2; exit 3'\n");
    assert_refused(-EACCES, "credential_process sh failed (status 3)");
    assert_null(strstr(why, "SECRET"));
    write_file(".aws/config", "[default]\n" PROGRAM "-c 'echo SECRET'\n");
    assert_refused(-EPROTO, "no JSON object");
    assert_null(strstr(why, "SECRET"));
    write_file(".aws/config", "[default]\n" PROGRAM "-c 'kill -9 $$'\n");
    assert_refused(-EACCES, "failed (signal 9)");
    write_file(".aws/config", "[default]\n" PROGRAM "-c 'cat /dev/zero'\n");
    assert_refused(-EPROTO, "prints too much");
    write_file(".aws/config", "[default]\ncredential_process = /nonexistent/program\n");
    assert_refused(-EINVAL, "/nonexistent/program can't be run: No such file");
    write_file(".aws/config", "[default]\ncredential_process = \"sh\n");
    assert_refused(-EINVAL, "no command");
}

static void a_program_that_hangs_is_given_up_at_the_deadline(void **state)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;
    struct aws_credentials found = {0};
    struct aws_chain *chain;

    (void)state;
    write_file(".aws/config", "[default]\n" PROGRAM "-c 'sleep 1000 & sleep 1000'\n");
    assert_int_equal(aws_profile_load(&profile), 0);
    assert_int_equal(aws_chain_open(profile, "", false, &deadline, &chain), 0);
    deadline = monotonic_ns() + 300000000;
    assert_int_equal(aws_chain_get(chain, false, &found, why, sizeof(why)), -ETIMEDOUT);
    deadline = 0;
    aws_chain_close(chain);
}

static void words_are_split_as_a_shell_does(void **state)
{
    static const struct {
        const char *command;
        const char *words[5]; /* none: refused */
    } commands[] = {
        {"a", {"a"}},
        {" a\tb  c ", {"a", "b", "c"}},
        {"'a b'\"c d\"e f", {"a bc de", "f"}},
        {"\"a\\\"b\\\\c\\d\" '\\'", {"a\"b\\c\\d", "\\"}},
        {"a\\ b '' \"\" c", {"a b", "", "", "c"}},
        {"", {NULL}},
        {"  ", {NULL}},
        {"'a", {NULL}},
        {"a \"b", {NULL}},
        {"a\\", {NULL}},
    };
    char *words[CREDENTIAL_PROCESS_WORDS + 1];
    char text[4 * CREDENTIAL_PROCESS_WORDS] = "";

    (void)state;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char *copy = strdup(commands[i].command);
        size_t n = 0;

        assert_int_equal(credential_process_split(copy, words), commands[i].words[0] ? 0 : -EINVAL);
        for (; commands[i].words[n]; n++)
            assert_string_equal(words[n], commands[i].words[n]);
        if (n > 0)
            assert_null(words[n]);
        free(copy);
    }
    for (int i = 0; i < CREDENTIAL_PROCESS_WORDS; i++)
        strcat(text, "a ");
    assert_int_equal(credential_process_split(text, words), 0);
    text[0] = '\0';
    for (int i = 0; i <= CREDENTIAL_PROCESS_WORDS; i++)
        strcat(text, "a ");
    assert_int_equal(credential_process_split(text, words), -EINVAL);
}

static void profiles_that_lead_nowhere_are_told(void **state)
{
    static const struct {
        const char *config, *says;
        int error;
    } configs[] = {
        {"[default]\nrole_arn=r\n", "needs one of source_profile", -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=a\ncredential_source=Environment\n",
         "needs one of source_profile", -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=a\n", "source_profile a of profile default doesn't",
         -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=a\n[profile a]\n", "has no credentials", -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=default\n",
         "its own source_profile, but has no key", -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=a\n[profile a]\nrole_arn=r\nsource_profile=b\n"
         "[profile b]\nrole_arn=r\nsource_profile=a\n",
         "source_profile of profile b leads back to profile a", -EINVAL},
        {"[default]\nrole_arn=r\nsource_profile=a\n[profile a]\nrole_arn=r\n"
         "source_profile=default\n",
         "source_profile of profile a leads back to profile default", -EINVAL},
        {"[default]\nrole_arn=r\ncredential_source=Nowhere\n", "but is Nowhere", -EINVAL},
        {"[default]\nrole_arn=r\ncredential_source=Environment\n",
         "credential_source Environment of profile default has no credentials", -ENOKEY},
        {"[default]\nrole_arn=r\ncredential_source=EcsContainer\n", "has no credentials", -ENOKEY},
        {"[default]\nrole_arn=r\ncredential_source=Ec2InstanceMetadata\n", "has no credentials",
         -ENOKEY},
        {"[default]\nrole_arn=r\nsource_profile=default\nmfa_serial=m\n", "MFA code", -ENOTSUP},
        {"[default]\nweb_identity_token_file=f\n", "needs role_arn beside it", -EINVAL},
        {"[default]\nrole_arn=r\nweb_identity_token_file=/nonexistent\n",
         "token file /nonexistent can't be used: No such file", -EINVAL},
        {"[default]\nsso_session=s\n", "takes a person to sign in (sso_session)", -ENOTSUP},
        {"[default]\nsso_start_url=s\n", "takes a person to sign in (sso_start_url)", -ENOTSUP},
        {"[default]\nlogin_session=s\n", "takes a person to sign in (login_session)", -ENOTSUP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        write_file(".aws/config", configs[i].config);
        assert_refused(configs[i].error, configs[i].says);
    }
}

static void too_many_profiles_in_a_row_are_refused(void **state)
{
    char config[2048] = "[default]\nrole_arn=r\nsource_profile=0\n";

    (void)state;
    for (int i = 0; i < 10; i++)
        sprintf(config + strlen(config), "[profile %d]\nrole_arn=r\nsource_profile=%d\n", i, i + 1);
    write_file(".aws/config", config);
    assert_refused(-EINVAL, "lead to each other");
}

static void a_source_that_is_configured_is_not_passed_over(void **state)
{
    (void)state;
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null", 1);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/", 1);
    assert_refused(-EINVAL, "needs AWS_ROLE_ARN");
    setenv("AWS_ROLE_ARN", "r", 1);
    assert_refused(-EINVAL, "token file /dev/null can't be used: it is empty");
    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    assert_refused(-EINVAL, "AWS_CONTAINER_CREDENTIALS_FULL_URI isn't asked");
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/", 1);
    assert_refused(-EINVAL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must be a path");
}

static void a_container_token_that_would_break_a_header_is_refused(void **state)
{
    (void)state;
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "TOKEN\r\nHost: x", 1);
    assert_refused(-EINVAL, "AWS_CONTAINER_AUTHORIZATION_TOKEN has a line break");
    assert_null(strstr(why, "TOKEN\r"));
    write_file("token", "TOKEN\n");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "token", 1); /* goes before the other */
    assert_refused(-EINVAL, "token has a line break");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/dev/zero", 1);
    assert_refused(-EINVAL, "/dev/zero can't be used: it is too long");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent", 1);
    assert_refused(-EINVAL, "/nonexistent can't be used: No such file");
}

static void only_the_sdks_hosts_are_asked_for_container_credentials(void **state)
{
    static const char *const allowed[] = {
        "https://example.com/x",       "http://localhost:8080/x", "http://127.0.0.1/x",
        "http://127.9.9.9:1/x",        "http://[::1]:8080/x",     "http://169.254.170.2/x",
        "http://169.254.170.23/v1/x",  "http://[fd00:ec2::23]/x", "HTTP://LOCALHOST/x",
        "http://169.254.170.23:80/?a",
    };
    static const char *const refused[] = {
        "",
        "/x",
        "http://",
        "http://example.com/x",
        "http://169.254.169.254/x",
        "http://169.254.170.22/x",
        "http://169.254.170.2.example.com/x",
        "http://127.0.0.1.example.com/x",
        "http://localhost.example.com/x",
        "http://169.254.170.2@example.com/x",
        "http://user:password@169.254.170.2/x",
        "http://example.com#@169.254.170.2/x",
        "http://10.0.0.1/x",
        "http://[fd00:ec2::254]/x",
        "http://[fd00:ec2::23%25eth0]/x",
        "http://[::ffff:10.0.0.1]/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "unix:///run/x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        if (!container_uri_is_allowed(allowed[i]))
            fail_msg("%s is refused", allowed[i]);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (container_uri_is_allowed(refused[i]))
            fail_msg("%s is allowed", refused[i]);
}

static void the_sts_of_a_region_is_found(void **state)
{
    static const struct {
        const char *region, *variable, *value, *url, *signs_for; /* no URL: refused */
    } endpoints[] = {
        {"eu-west-1", NULL, NULL, "https://sts.eu-west-1.amazonaws.com/", "eu-west-1"},
        {"cn-north-1", NULL, NULL, "https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1"},
        {"", NULL, NULL, "https://sts.amazonaws.com/", "us-east-1"},
        {"eu-west-1", "AWS_STS_REGIONAL_ENDPOINTS", "legacy", "https://sts.amazonaws.com/",
         "us-east-1"},
        {"eu-west-1", "AWS_STS_REGIONAL_ENDPOINTS", "regional",
         "https://sts.eu-west-1.amazonaws.com/", "eu-west-1"},
        {"eu-south-1", "AWS_STS_REGIONAL_ENDPOINTS", "legacy",
         "https://sts.eu-south-1.amazonaws.com/", "eu-south-1"},
        {"us-east-1", "AWS_USE_FIPS_ENDPOINT", "true", "https://sts-fips.us-east-1.amazonaws.com/",
         "us-east-1"},
        {"eu-west-1", "AWS_ENDPOINT_URL", "https://sts.example.com", "https://sts.example.com",
         "eu-west-1"},
        {"", "AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", "http://127.0.0.1:1", "us-east-1"},
        {"eu-west-1", "AWS_ENDPOINT_URL_STS", "http://sts.example.com", NULL, NULL},
        {"eu-west-1", "AWS_ENDPOINT_URL_STS", "https://user:secret@sts.example.com", NULL, NULL},
        {"eu-west-1/x", NULL, NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        struct aws_search search = {.why = why, .why_size = sizeof(why)};
        struct sts_endpoint endpoint;

        strcpy(search.sts_region, endpoints[i].region);
        if (endpoints[i].variable)
            setenv(endpoints[i].variable, endpoints[i].value, 1);
        assert_int_equal(sts_endpoint_find(&search, &endpoint), endpoints[i].url ? 0 : -EINVAL);
        if (endpoints[i].url) {
            assert_string_equal(endpoint.url, endpoints[i].url);
            assert_string_equal(endpoint.region, endpoints[i].signs_for);
        } else {
            assert_null(strstr(why, "secret"));
        }
        if (endpoints[i].variable)
            unsetenv(endpoints[i].variable);
    }
}

/* Makes a program that gives a key that is good for a time, or fails. */
static void write_program(int64_t seconds, const char *status)
{
    const time_t expires = time(NULL) + seconds;
    char until[32], text[1024];
    struct tm utc;

    strftime(until, sizeof(until), "%FT%TZ", gmtime_r(&expires, &utc));
    snprintf(text, sizeof(text),
             "echo run >>runs\necho '{\"Version\": 1, \"AccessKeyId\": \"NEW\", "
             "\"SecretAccessKey\": \"S\", \"Expiration\": \"%s\"}'\nexit %s\n",
             until, status);
    write_file("program", text);
    write_file(".aws/config", "[default]\n" PROGRAM "program\n");
}

/* A key that was found before. */
static struct aws_credentials old_key(int64_t seconds_left)
{
    return (struct aws_credentials){.access_key_id = "OLD",
                                    .secret_access_key = "S",
                                    .expires = seconds_left ? time(NULL) + seconds_left : 0};
}

static void a_key_is_renewed_five_minutes_before_it_expires(void **state)
{
    struct aws_credentials key;

    (void)state;
    write_program(3600, "0");
    key = old_key(0);
    assert_int_equal(get(false, &key), 0);
    key = old_key(10 * 60);
    assert_int_equal(get(false, &key), 0);
    assert_string_equal(key.access_key_id, "OLD");
    key = old_key(4 * 60);
    assert_int_equal(get(false, &key), 1);
    assert_string_equal(key.access_key_id, "NEW");
    key = old_key(-60);
    assert_int_equal(get(false, &key), 1);
    key = old_key(3600);
    assert_int_equal(get(true, &key), 1); /* the server said ExpiredToken */
    assert_string_equal(key.access_key_id, "NEW");
}

static void a_key_that_can_not_be_renewed_stays(void **state)
{
    struct aws_credentials key = old_key(4 * 60);

    (void)state;
    write_program(3600, "1");
    assert_int_equal(get(false, &key), 0);
    assert_string_equal(key.access_key_id, "OLD");
    key = old_key(-60); /* by our clock; the server's counts */
    assert_int_equal(get(false, &key), 0);
    assert_string_equal(key.access_key_id, "OLD");
    assert_int_equal(get(true, &key), -EACCES);
    assert_string_equal(key.access_key_id, "OLD");
}

static void a_source_is_not_asked_before_each_request(void **state)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;
    struct aws_credentials key = {0};
    struct aws_chain *chain;
    struct stat runs;

    (void)state;
    write_program(60, "0"); /* hardly given, it is about to expire: a clock is wrong */
    assert_int_equal(aws_profile_load(&profile), 0);
    assert_int_equal(aws_chain_open(profile, NULL, false, &deadline, &chain), 0);
    assert_int_equal(aws_chain_get(chain, false, &key, why, sizeof(why)), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(aws_chain_get(chain, false, &key, why, sizeof(why)), 0);
    assert_int_equal(stat("runs", &runs), 0);
    assert_int_equal(runs.st_size, strlen("run\n"));
    assert_int_equal(aws_chain_get(chain, true, &key, why, sizeof(why)), 1);
    aws_chain_close(chain);
}

static int start_curl(void **state)
{
    (void)state;
    return curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK;
}

static int end_curl(void **state)
{
    (void)state;
    curl_global_cleanup();
    return 0;
}

int main(void)
{
#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FILE_TEST(the_environment_goes_before_the_files),
        FILE_TEST(the_credentials_file_goes_before_the_config_file),
        FILE_TEST(the_files_are_where_the_environment_says),
        FILE_TEST(the_place_is_told_where_they_were_found),
        FILE_TEST(what_is_missing_is_told_with_the_places),
        FILE_TEST(half_a_key_is_an_error),
        FILE_TEST(a_value_that_would_break_a_header_is_refused),
        FILE_TEST(a_file_that_never_ends_or_is_no_file_is_survived),
        FILE_TEST(a_profile_that_is_asked_for_must_be_there),
        FILE_TEST(a_profiles_program_gives_the_key),
        FILE_TEST(a_program_that_fails_is_told_without_its_output),
        FILE_TEST(a_program_that_hangs_is_given_up_at_the_deadline),
        FILE_TEST(words_are_split_as_a_shell_does),
        FILE_TEST(profiles_that_lead_nowhere_are_told),
        FILE_TEST(too_many_profiles_in_a_row_are_refused),
        FILE_TEST(a_source_that_is_configured_is_not_passed_over),
        FILE_TEST(a_container_token_that_would_break_a_header_is_refused),
        FILE_TEST(only_the_sdks_hosts_are_asked_for_container_credentials),
        FILE_TEST(the_sts_of_a_region_is_found),
        FILE_TEST(a_key_is_renewed_five_minutes_before_it_expires),
        FILE_TEST(a_key_that_can_not_be_renewed_stays),
        FILE_TEST(a_source_is_not_asked_before_each_request),
    };

    return cmocka_run_group_tests(tests, start_curl, end_curl);
}
