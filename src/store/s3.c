#include "store/s3.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <curl/curl.h>

#include "store/ca_bundle.h"
#include "store/s3_client.h"
#include "store/s3_transfer.h"
#include "store/s3_upload.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/log.h"

/* How long somebody waits to hear who this is. */
#define HASTY_NS 7000000000ll

static void cleanup_s3(struct s3 **s3)
{
    s3_close(*s3);
}

static struct s3 *new_s3(void)
{
    struct s3 *s3;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    s3 = calloc(1, sizeof(*s3));
    if (!s3) {
        curl_global_cleanup();
        return NULL;
    }
    s3->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s3->wake_fd >= 0)
        return s3;
    s3_close(s3);
    return NULL;
}

/* What is said with every request, and what with those alone that make an object. */
static int make_headers(const struct s3_settings *settings, struct s3 *s3, char *why,
                        size_t why_size)
{
    /* A header is ASCII, and a hostname or a key prefix need not be. */
    _cleanup_free_ char *crash_id = s3_encode_value(settings->crash_id ? settings->crash_id : "");
    const struct {
        const char *header, *value, *setting;
        struct s3_headers *list;
    } all[] = {
        {"x-amz-expected-bucket-owner", settings->expected_bucket_owner, "S3_EXPECTED_BUCKET_OWNER",
         &s3->request_headers},
        {"x-amz-request-payer", settings->request_payer, "S3_REQUEST_PAYER", &s3->request_headers},
        {"x-amz-server-side-encryption", settings->sse, "S3_SSE", &s3->object_headers},
        {"x-amz-server-side-encryption-aws-kms-key-id", settings->sse_kms_key_id,
         "S3_SSE_KMS_KEY_ID", &s3->object_headers},
        {"x-amz-storage-class", settings->storage_class, "S3_STORAGE_CLASS", &s3->object_headers},
        {"x-amz-tagging", settings->tags, "S3_TAGS", &s3->object_headers},
        {"x-amz-meta-crash-id", crash_id, "the crash id", &s3->object_headers},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int r = s3_headers_add(all[i].list, all[i].header, all[i].value);

        if (r < 0) {
            snprintf(why, why_size, "%s has a character that an HTTP header can't have",
                     all[i].setting);
            return r;
        }
    }
    return 0;
}

static int choose_algorithm(const struct s3_settings *settings, struct s3 *s3, char *why,
                            size_t why_size)
{
    const char *name = settings->checksum;

    if (!name || name[0] == '\0' || strcmp(name, "auto") == 0)
        return 0;
    s3->algorithm = s3_algorithm_of(name);
    s3->is_algorithm_set = true;
    if (s3->algorithm < S3_ALGORITHMS)
        return 0;
    snprintf(why, why_size, "S3_CHECKSUM must be auto, crc64nvme, crc32c, crc32 or md5");
    return -EINVAL;
}

/* All but the credentials. */
static int resolve(const struct s3_settings *settings, struct s3 *s3, char *why, size_t why_size)
{
    char ca_bundle[PATH_MAX] = "";
    int r = s3_address_resolve(settings, s3->profile, &s3->address, why, why_size);

    if (r == 0)
        r = make_headers(settings, s3, why, why_size);
    if (r == 0)
        r = choose_algorithm(settings, s3, why, why_size);
    if (r < 0)
        return r;
    snprintf(s3->destination, sizeof(s3->destination), "s3://%s%s%s", s3->address.bucket,
             s3->address.prefix[0] != '\0' ? "/" : "", s3->address.prefix);
    s3->upload_rate = settings->upload_rate;
    s3_retry_init(&s3->retry, s3->profile);
    if (ca_bundle_find(s3->profile, ca_bundle, sizeof(ca_bundle)) == 0)
        ca_bundle[0] = '\0';
    return s3_transfer_prepare(s3, ca_bundle);
}

int s3_make(const struct s3_settings *settings, bool is_hasty, struct s3 **ret,
            enum s3_made *ret_made, char *why, size_t why_size)
{
    struct s3 *s3 = new_s3();
    int r;

    *ret = s3;
    *ret_made = S3_MADE_NOTHING;
    snprintf(why, why_size, "cannot prepare to send to S3: out of memory");
    if (!s3)
        return -ENOMEM;
    s3->is_hasty = is_hasty;
    atomic_store(&s3->deadline, is_hasty ? monotonic_ns() + HASTY_NS : 0);
    r = aws_profile_load(&s3->profile);
    if (r == 0)
        r = resolve(settings, s3, why, why_size);
    if (r < 0)
        return r;
    *ret_made = S3_MADE_ADDRESS;
    r = aws_chain_open(s3->profile, s3->address.region, settings->allow_http,
                       settings->deadline_ns ? settings->deadline_ns : &s3->deadline, &s3->chain);
    if (r == 0)
        r = aws_chain_get(s3->chain, false, &s3->credentials, why, why_size);
    if (r < 0)
        return r;
    atomic_store(&s3->deadline, 0);
    *ret_made = S3_MADE_ALL;
    return 0;
}

int s3_open(const struct s3_settings *settings, struct s3 **ret)
{
    _cleanup_(cleanup_s3) struct s3 *s3 = NULL;
    enum s3_made made;
    char why[3 * PATH_MAX];
    int r = s3_make(settings, false, &s3, &made, why, sizeof(why));

    if (r < 0) {
        log_error("%s", why);
        return r;
    }
    log_info("S3 objects go to %s, region %s, by %s", s3->destination, s3->address.region,
             s3->address.base);
    *ret = take_ptr(s3);
    return 0;
}

const char *s3_destination(const struct s3 *s3)
{
    return s3->destination;
}

const char *s3_last_error(const struct s3 *s3)
{
    return s3->failure.words;
}

void s3_set_deadline(struct s3 *s3, int64_t monotonic_ns)
{
    const uint64_t one = 1;

    atomic_store(&s3->deadline, monotonic_ns);
    (void)!write(s3->wake_fd, &one, sizeof(one));
}

void s3_on_progress(struct s3 *s3, void (*on_progress)(void *context, uint64_t bytes),
                    void *context)
{
    s3->on_progress = on_progress;
    s3->progress_context = context;
}

bool s3_is_verified(const struct s3 *s3)
{
    return s3->is_verified;
}

bool s3_is_hopeless(int error)
{
    static const int hopeless[] = {EACCES,  ENOENT, EINVAL,       EPROTO, ENOKEY,
                                   ENOTSUP, EFBIG,  ENAMETOOLONG, ENODATA};

    for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++)
        if (abs(error) == hopeless[i])
            return true;
    return false;
}

int s3_report(const struct s3 *s3, const char *name)
{
    log_error("cannot send %s to %s: %s", name, s3->destination, s3->failure.words);
    return s3->failure.error;
}

void s3_close(struct s3 *s3)
{
    if (!s3)
        return;
    curl_easy_cleanup(s3->curl);
    aws_chain_close(s3->chain);
    aws_profile_free(s3->profile);
    aws_credentials_wipe(&s3->credentials);
    s3_headers_free(&s3->request_headers);
    s3_headers_free(&s3->object_headers);
    close_fd(s3->wake_fd);
    free(s3);
    curl_global_cleanup();
}
