#include "init/settings.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SECONDS (7 * 24 * 3600)

/* S3's limits of a tag set, in characters, as they are before they are percent-encoded. */
#define MOST_TAGS 10
#define LONGEST_TAG_KEY 128
#define LONGEST_TAG_VALUE 256

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static int set_text(const struct setting *setting, void *field, const char *value)
{
    if (strlen(value) >= setting->size)
        return -ENAMETOOLONG;
    strcpy(field, value);
    return 0;
}

/* A relative path would mean another one to the collector than to the program. */
static int set_path(const struct setting *setting, void *field, const char *value)
{
    return value[0] == '/' ? set_text(setting, field, value) : -EINVAL;
}

static int set_cores_dir(const struct setting *setting, void *field, const char *value)
{
    if (strcmp(value, "none") == 0)
        return set_text(setting, field, "");
    return set_path(setting, field, value);
}

/* Returns the word's place among the choices, or -EINVAL. */
static int find_choice(const struct setting *setting, const char *value)
{
    for (int i = 0; setting->choices[i]; i++)
        if (strcmp(value, setting->choices[i]) == 0)
            return i;
    return -EINVAL;
}

/* The field is an enumeration, or bool, or uint32_t, and counts as the choices do. */
static int set_choice(const struct setting *setting, void *field, const char *value)
{
    int choice = find_choice(setting, value);

    if (choice < 0)
        return choice;
    if (setting->size == sizeof(bool))
        *(bool *)field = choice;
    else
        *(uint32_t *)field = (uint32_t)choice;
    return 0;
}

/* The field is the word itself. */
static int set_word(const struct setting *setting, void *field, const char *value)
{
    return find_choice(setting, value) < 0 ? -EINVAL : set_text(setting, field, value);
}

/* Returns what follows the digits, or NULL where there are none, or too many. */
static const char *read_number(const char *value, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(value, &end, 10);
    return isdigit((unsigned char)value[0]) && errno == 0 ? end : NULL;
}

static int set_number(const struct setting *setting, void *field, const char *value)
{
    uint64_t number;
    const char *end = read_number(value, &number);

    if (!end || *end || number > setting->most)
        return -EINVAL;
    *(uint32_t *)field = (uint32_t)number;
    return 0;
}

static int set_pid(const struct setting *setting, void *field, const char *value)
{
    return value[0] == '0' ? -EINVAL : set_number(setting, field, value);
}

/* Bytes, or with one of the letters behind it. */
static int set_size(const struct setting *setting, void *field, const char *value)
{
    static const char units[] = "KMGT";
    uint64_t number;
    const char *end = read_number(value, &number);
    const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    unsigned shift = 0;

    if (!end || (*end && (!unit || end[1])))
        return -EINVAL;
    if (unit)
        shift = 10 * (unsigned)(unit - units + 1);
    if (number > setting->most >> shift)
        return -EINVAL;
    *(uint64_t *)field = number << shift;
    return 0;
}

static bool consists_of(const char *value, const char *characters)
{
    return value[0] && value[strspn(value, characters)] == '\0';
}

/* Other servers than Amazon's have classes of their own names. */
static int set_storage_class(const struct setting *setting, void *field, const char *value)
{
    return consists_of(value, ALPHANUMERIC "_-") ? set_text(setting, field, value) : -EINVAL;
}

/* An id, an alias, or the ARN of either. */
static int set_kms_key(const struct setting *setting, void *field, const char *value)
{
    return consists_of(value, ALPHANUMERIC ":/_-.") ? set_text(setting, field, value) : -EINVAL;
}

static int set_account(const struct setting *setting, void *field, const char *value)
{
    return strlen(value) == setting->size - 1 && consists_of(value, "0123456789")
               ? set_text(setting, field, value)
               : -EINVAL;
}

/* A key or a value as a URL has it, up to @end. Returns how many characters it stands for, -1 where
 * one can't stand there. */
static int count_encoded(const char *text, const char *end)
{
    int n = 0;

    for (; text < end; text++, n++) {
        if (*text == '%') {
            if (end - text < 3 || !isxdigit((unsigned char)text[1]) ||
                !isxdigit((unsigned char)text[2]))
                return -1;
            text += 2;
        } else if (!strchr(ALPHANUMERIC "-._~+:/@", *text)) {
            return -1;
        }
    }
    return n;
}

static int set_tags(const struct setting *setting, void *field, const char *value)
{
    const char *tag = value;

    for (int n = 1;; n++) {
        const char *end = tag + strcspn(tag, "&");
        const char *equals = memchr(tag, '=', (size_t)(end - tag));
        int key = equals ? count_encoded(tag, equals) : -1;
        int text = equals ? count_encoded(equals + 1, end) : -1;

        if (n > MOST_TAGS || key < 1 || key > LONGEST_TAG_KEY || text < 0 ||
            text > LONGEST_TAG_VALUE)
            return -EINVAL;
        if (!*end)
            return set_text(setting, field, value);
        tag = end + 1;
    }
}

static const char *const captures[] = {[CAPTURE_AUTO] = "auto",
                                       [CAPTURE_KERNEL] = "kernel",
                                       [CAPTURE_PTRACE] = "ptrace",
                                       [CAPTURE_OFF] = "off",
                                       NULL};
static const char *const on_crashes[] = {
    [ON_CRASH_EXIT] = "exit", [ON_CRASH_RESTART] = "restart", [ON_CRASH_LINGER] = "linger", NULL};
static const char *const reports[] = {"crashes", "exits", NULL};
static const char *const keep_locals[] = {KEEP_LOCAL_NAMES, NULL};
static const char *const encryptions[] = {"AES256", "aws:kms", "aws:kms:dsse", NULL};
static const char *const payers[] = {"requester", NULL};
static const char *const checksums[] = {"auto", "crc64nvme", "crc32c", "crc32", "md5", NULL};
static const char *const answers[] = {"no", "yes", NULL};

const char *options_capture_name(enum capture_choice choice)
{
    return captures[choice];
}

const char *options_on_crash_name(enum on_crash choice)
{
    return on_crashes[choice];
}

#define NO_SECONDS "is not a number of seconds from 0 (no limit) to 604800"
#define NO_SIZE "is not a number of bytes, or of K, M, G or T"

const struct setting settings[SETTINGS] = {
#define AT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field)
    {"cores-dir", "COREINIT_CORES_DIR", "", "cores_dir", "/cores", set_cores_dir,
     AT(settings.cores_dir), "is not an absolute path, nor none", NULL, 0},
    {"capture", "COREINIT_CAPTURE", "", "capture", "auto", set_choice, AT(capture),
     "is none of auto, kernel, ptrace, off", captures, 0},
    {"on-crash", "COREINIT_ON_CRASH", "", "on_crash", "exit", set_choice, AT(on_crash),
     "is none of exit, restart, linger", on_crashes, 0},
    {"restart-limit", "COREINIT_RESTART_LIMIT", "", "restart_limit", "10", set_number,
     AT(restart_limit), "is not a number of restarts in an hour from 0 (no limit) to 100", NULL,
     MOST_RESTARTS},
    {"linger-minutes", "COREINIT_LINGER_MINUTES", "", "linger_minutes", "60", set_number,
     AT(linger_minutes), "is not a number of minutes from 0 (until it is stopped) to 10080", NULL,
     MAX_SECONDS / 60},
    {"report", "COREINIT_REPORT", "", "report", "crashes", set_choice, AT(reports_exits),
     "is none of crashes, exits", reports, 0},
    {"stop-timeout", "COREINIT_STOP_TIMEOUT", "", "stop_timeout", "30", set_number,
     AT(settings.stop_timeout), NO_SECONDS, NULL, MAX_SECONDS},
    {"collect-timeout", "COREINIT_COLLECT_TIMEOUT", "", "collect_timeout", "600", set_number,
     AT(settings.collect_timeout), NO_SECONDS, NULL, MAX_SECONDS},
    {"keep-local", "COREINIT_KEEP_LOCAL", "", "keep_local", "always", set_choice,
     AT(settings.keep_local), "is none of always, until-sent, never", keep_locals, 0},
    {"max-use", "COREINIT_MAX_USE", "", "max_use", "0", set_size, AT(settings.max_use), NO_SIZE,
     NULL, INT64_MAX},
    {"keep-free", "COREINIT_KEEP_FREE", "", "keep_free", "0", set_size, AT(settings.keep_free),
     NO_SIZE, NULL, INT64_MAX},
    {"max-files", "COREINIT_MAX_FILES", "", "max_files", "0", set_number, AT(settings.max_files),
     "is not a number of files from 0 (no limit) to 4294967295", NULL, UINT32_MAX},
    {"upload-rate", "COREINIT_UPLOAD_RATE", "", "upload_rate", "0", set_size,
     AT(settings.upload_rate), NO_SIZE, NULL, INT64_MAX},
    {"config", "COREINIT_CONFIG", NULL, NULL, "", set_path, AT(settings.config),
     "is not an absolute path", NULL, 0},
    {"attach-name", NULL, NULL, NULL, "", set_text, AT(attach_name), NULL, NULL, 0},
    {"attach-pid", NULL, NULL, NULL, "", set_pid, AT(attach_pid), "is not a process's number", NULL,
     INT_MAX},
    {NULL, "S3_BUCKET", "s3", "bucket", "", set_text, AT(settings.bucket), NULL, NULL, 0},
    {NULL, "S3_KEY_PREFIX", "s3", "key_prefix", "issue", set_text, AT(settings.key_prefix), NULL,
     NULL, 0},
    {NULL, "RUN_ID", NULL, NULL, "", set_text, AT(settings.run_id), NULL, NULL, 0},
    /* The environment's AWS_REGION and AWS_ENDPOINT_URL* are corectl's to read, as the SDKs do. */
    {NULL, NULL, "s3", "region", "", set_text, AT(settings.region), NULL, NULL, 0},
    {NULL, NULL, "s3", "endpoint", "", set_text, AT(settings.endpoint), NULL, NULL, 0},
    {NULL, "S3_SSE", "s3", "sse", "", set_word, AT(settings.sse),
     "is none of AES256, aws:kms, aws:kms:dsse", encryptions, 0},
    {NULL, "S3_SSE_KMS_KEY_ID", "s3", "sse_kms_key_id", "", set_kms_key,
     AT(settings.sse_kms_key_id), "is no key's id, alias or ARN", NULL, 0},
    {NULL, "S3_STORAGE_CLASS", "s3", "storage_class", "", set_storage_class,
     AT(settings.storage_class), "is no storage class, as STANDARD_IA is", NULL, 0},
    {NULL, "S3_TAGS", "s3", "tags", "", set_tags, AT(settings.tags),
     "is not KEY=VALUE&KEY=VALUE, percent-encoded and at most 10", NULL, 0},
    {NULL, "S3_EXPECTED_BUCKET_OWNER", "s3", "expected_bucket_owner", "", set_account,
     AT(settings.expected_bucket_owner), "is not an account's 12 digits", NULL, 0},
    {NULL, "S3_REQUEST_PAYER", "s3", "request_payer", "", set_word, AT(settings.request_payer),
     "is not requester", payers, 0},
    {NULL, "S3_CHECKSUM", "s3", "checksum", "auto", set_word, AT(settings.checksum),
     "is none of auto, crc64nvme, crc32c, crc32, md5", checksums, 0},
    {NULL, "S3_ALLOW_HTTP", "s3", "allow_http", "no", set_choice, AT(settings.allow_http),
     "is none of yes, no", answers, 0},
#undef AT
};

const char *setting_set(const struct setting *setting, struct options *options, const char *value)
{
    int r = setting->parse(setting, (char *)options + setting->offset, value);

    return r == 0 ? NULL : r == -ENAMETOOLONG ? "is too long" : setting->wrong;
}
