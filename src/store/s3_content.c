#include "store/s3_content.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/hex.h"
#include "util/log.h"

/* What differs on arrival is sent again at once: it was damaged on its way. */
#define MOST_DAMAGED 3

/* "HEX", or of an object in parts "HEX-N", in quotation marks. */
static bool is_md5(const char *etag)
{
    size_t digits = strspn(etag + (etag[0] == '"'), "0123456789abcdef");
    const char *end = etag + (etag[0] == '"') + digits;

    if (digits != 2 * 16)
        return false;
    if (*end == '-')
        end += 1 + strspn(end + 1, "0123456789");
    return end[*end == '"'] == '\0';
}

bool s3_etag_is(const char *etag, const char *md5_hex)
{
    const size_t size = strlen(md5_hex);

    etag += etag[0] == '"';
    return strncmp(etag, md5_hex, size) == 0 && (etag[size] == '"' || etag[size] == '\0');
}

static int fail_comparison(struct s3 *s3, const char *expected, const char *found)
{
    char words[256];

    snprintf(words, sizeof(words),
             "the server has other bytes than those that were sent: their checksum is %.100s and "
             "should be %s",
             found, expected);
    return s3_fail(s3, -EBADMSG, words);
}

int s3_compare(struct s3 *s3, enum s3_algorithm algorithm, const char *expected,
               const struct s3_claim *claim)
{
    if (algorithm != S3_MD5) {
        if (claim->checksum[0] == '\0')
            return 0;
        return strcmp(claim->checksum, expected) == 0
                   ? 1
                   : fail_comparison(s3, expected, claim->checksum);
    }
    if (strncmp(claim->encryption, "aws:kms", 7) == 0 || !is_md5(claim->etag) ||
        !strchr(claim->etag, '-') != !strchr(expected, '-'))
        return 0;
    return s3_etag_is(claim->etag, expected) ? 1 : fail_comparison(s3, expected, claim->etag);
}

static int send_once(struct s3 *s3, const struct s3_content *content,
                     const struct s3_headers *headers, enum s3_algorithm algorithm,
                     const struct s3_digest *digest, struct s3_response *response)
{
    const struct s3_request request = {.method = "PUT",
                                       .name = content->name,
                                       .query = content->query,
                                       .body = *content->body,
                                       .sha256 = digest->sha256,
                                       .reported = content->reported,
                                       .headers = headers,
                                       .makes_object = content->makes_object,
                                       .needs_etag = true};
    const struct s3_claim claim = {.checksum = response->checksums[algorithm],
                                   .etag = response->etag,
                                   .encryption = response->encryption};
    char md5[2 * S3_MAX_SUM_BYTES + 1];
    int r = s3_send(s3, &request, response);

    if (r < 0)
        return r;
    hex_encode(digest->sum, sizeof(digest->sum), md5);
    return s3_compare(s3, algorithm, algorithm == S3_MD5 ? md5 : digest->text, &claim);
}

int s3_send_content(struct s3 *s3, const struct s3_content *content, enum s3_algorithm algorithm,
                    const struct s3_digest *digest, struct s3_response *response)
{
    const struct s3_algorithm_facts *facts = s3_algorithm_facts(algorithm);
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    int r = s3_headers_add(&headers, facts->header, digest->text);

    if (r == 0)
        r = s3_headers_add(&headers, "x-amz-sdk-checksum-algorithm", facts->name);
    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));
    for (int damaged = 1;; damaged++) {
        r = send_once(s3, content, &headers, algorithm, digest, response);
        if (r != -EBADMSG || damaged == MOST_DAMAGED || s3->is_hasty)
            return r;
        log_info("%s was damaged on its way, sending it again: %s", content->name,
                 s3->failure.words);
    }
}

int s3_look_up(struct s3 *s3, const char *name, enum s3_algorithm algorithm, const char *expected,
               uint64_t size)
{
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    const struct s3_request request = {.method = "HEAD", .name = name, .headers = &headers};
    struct s3_response response = {0};
    const struct s3_claim claim = {.checksum = response.checksums[algorithm],
                                   .etag = response.etag,
                                   .encryption = response.encryption};
    char *end;
    int r = s3_headers_add(&headers, "x-amz-checksum-mode", "ENABLED");

    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));
    r = s3_send(s3, &request, &response);
    if (r < 0)
        return r;
    if (!isdigit((unsigned char)response.length[0]) ||
        strtoull(response.length, &end, 10) != size || *end != '\0')
        return s3_fail(s3, -EBADMSG, "the object in S3 has another size than what was sent");
    return s3_compare(s3, algorithm, expected, &claim);
}

/* S3's own "no": what it doesn't implement, or an algorithm that it has never heard of. */
static bool is_refusal(const struct s3 *s3)
{
    static const char *const codes[] = {"NotImplemented", "InvalidRequest", "InvalidArgument",
                                        "InvalidDigest"};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(s3->failure.code, codes[i]) == 0)
            return true;
    return false;
}

bool s3_goes_on(struct s3 *s3, enum s3_algorithm algorithm, int r)
{
    if (algorithm == S3_MD5 || s3->is_algorithm_set || (r < 0 && !is_refusal(s3)))
        return false;
    log_debug("%s knows no %s checksums", s3->address.base, s3_algorithm_facts(algorithm)->name);
    return true;
}
