#include "store/s3_upload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/s3_content.h"
#include "store/s3_list_parts.h"
#include "util/cleanup.h"
#include "util/hex.h"
#include "util/log.h"

#define MOST_ID_BYTES ((size_t)3 * 1024)

static int fail_memory(struct s3 *s3)
{
    return s3_fail(s3, -ENOMEM, "out of memory");
}

static int fail_unverified(struct s3 *s3)
{
    return s3_fail(s3, -EINVAL,
                   "the server doesn't verify the checksum that S3_CHECKSUM names; set it to auto");
}

/* A reply that said nothing of the whole object: the server is asked for it. */
static int check(struct s3 *s3, const char *name, enum s3_algorithm algorithm, const char *checksum,
                 uint64_t size)
{
    const int r = s3_look_up(s3, name, algorithm, checksum, size);

    s3->is_verified = r == 1;
    if (r == -EBADMSG)
        return r;
    if (r == -ENOENT)
        return s3_fail(s3, -EBADMSG,
                       "the server took it, but doesn't have it; is the endpoint an S3 server?");
    if (r < 0)
        log_warning("%s is in %s, each part as it was sent, but the whole can't be looked at: %s",
                    name, s3->destination, s3->failure.words);
    if (r == 0)
        log_info("%s is in %s, each part and its size as they were sent; the server tells no "
                 "checksum of the whole",
                 name, s3->destination);
    return 0;
}

int s3_put_object(struct s3 *s3, const char *name, const struct s3_body *body)
{
    uint64_t reported = 0;
    const struct s3_content content = {
        .name = name, .body = body, .makes_object = true, .reported = &reported};

    for (enum s3_algorithm algorithm = s3->algorithm;; algorithm++) {
        struct s3_response response = {0};
        struct s3_digest digest;
        char md5[2 * S3_MAX_SUM_BYTES + 1];
        int r = s3_digest_body(algorithm, &s3->crc, body, &digest);

        if (r < 0)
            return s3_fail_reading(s3, r);
        r = s3_send_content(s3, &content, algorithm, &digest, &response);
        s3->is_verified = r == 1;
        if (r == 1 || (r == 0 && algorithm == S3_MD5))
            s3->algorithm = algorithm;
        if (r == 1)
            return 0;
        if (r == 0 && algorithm == S3_MD5) {
            hex_encode(digest.sum, sizeof(digest.sum), md5);
            return check(s3, name, algorithm, md5, body->size);
        }
        if (!s3_goes_on(s3, algorithm, r))
            return r < 0 ? r : fail_unverified(s3);
    }
}

/* Asks for something about the whole upload, whose id is the query. */
static int send_about(const struct s3_upload *upload, struct s3_request *request,
                      struct s3_response *response)
{
    _cleanup_free_ char *query = NULL;

    if (asprintf(&query, "uploadId=%s", upload->id) < 0) {
        query = NULL;
        return fail_memory(upload->s3);
    }
    request->name = upload->name;
    request->query = query;
    return s3_send(upload->s3, request, response);
}

static void abort_upload(struct s3_upload *upload)
{
    struct s3_request request = {.method = "DELETE"};
    struct s3_failure reason = upload->s3->failure;
    struct s3_response response;

    if (send_about(upload, &request, &response) < 0 &&
        strcmp(upload->s3->failure.code, "NoSuchUpload") != 0)
        log_warning("parts of %s stay in %s until upload %s is aborted (a lifecycle rule can do "
                    "that): %s",
                    upload->name, upload->s3->destination, upload->id, upload->s3->failure.words);
    upload->s3->failure = reason;
    free(take_ptr(upload->id));
}

/* CreateMultipartUpload. Returns whether the server will verify checksums of that kind. */
static int create(struct s3_upload *upload)
{
    const struct s3_algorithm_facts *facts = s3_algorithm_facts(upload->algorithm);
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    const struct s3_request request = {.method = "POST",
                                       .name = upload->name,
                                       .query = "uploads=",
                                       .headers = &headers,
                                       .makes_object = true,
                                       .reply_root = "InitiateMultipartUploadResult"};
    struct s3 *s3 = upload->s3;
    struct s3_response response;
    int r = s3_headers_add(&headers, "x-amz-checksum-algorithm", facts->name);

    if (r == 0 && facts->is_full_object)
        r = s3_headers_add(&headers, "x-amz-checksum-type", "FULL_OBJECT");
    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));
    r = s3_send(s3, &request, &response);
    if (r < 0)
        return r;
    if (response.reply.upload_id[0] == '\0')
        return s3_fail(s3, -EPROTO, "the reply names no upload; is the endpoint an S3 server?");
    upload->id = s3_encode_value(response.reply.upload_id);
    if (!upload->id)
        return fail_memory(s3);
    return !facts->name || strcasecmp(response.checksum_algorithm, facts->name) == 0;
}

static int begin_new(struct s3_upload *upload)
{
    struct s3 *s3 = upload->s3;

    for (upload->algorithm = s3->algorithm;; upload->algorithm++) {
        int r = create(upload);

        if (r == 1) {
            s3->algorithm = upload->algorithm;
            return 0;
        }
        if (upload->id)
            abort_upload(upload);
        if (!s3_goes_on(s3, upload->algorithm, r))
            return r < 0 ? r : fail_unverified(s3);
    }
}

/* A journal may have been damaged, and an id goes into a URL as it stands. */
static bool is_id(const char *text)
{
    size_t size = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "-._~%");

    return size > 0 && size <= MOST_ID_BYTES && text[size] == '\0';
}

int s3_upload_begin(struct s3 *s3, const char *name, const char *resume_id, struct s3_upload *ret)
{
    bool is_gone;
    int r;

    *ret = (struct s3_upload){.s3 = s3, .name = name};
    if (!resume_id || !is_id(resume_id))
        return begin_new(ret);
    ret->id = strdup(resume_id);
    if (!ret->id)
        return fail_memory(s3);
    r = s3_list_parts(ret);
    if (r != 0)
        return r < 0 ? r : 0;
    is_gone = !ret->id;
    s3_upload_end(ret);
    *ret = (struct s3_upload){.s3 = s3, .name = name, .is_resumed_gone = is_gone};
    return begin_new(ret);
}

/* Whether a part is at the server already, by an earlier life's doing. */
static bool is_there(const struct s3_upload *upload, const struct s3_body *body,
                     const struct s3_digest *digest)
{
    const struct s3_part *part = &upload->parts[upload->n_parts];
    char md5[2 * S3_MAX_SUM_BYTES + 1];

    if (part->number != upload->n_parts + 1 || part->size != body->size)
        return false;
    hex_encode(digest->sum, sizeof(digest->sum), md5);
    return upload->algorithm == S3_MD5 ? s3_etag_is(part->etag, md5)
                                       : strcmp(part->checksum, digest->text) == 0;
}

static int send_part(struct s3_upload *upload, const struct s3_body *body,
                     const struct s3_digest *digest)
{
    struct s3_part *part = &upload->parts[upload->n_parts];
    _cleanup_free_ char *query = NULL;
    uint64_t reported = 0;
    struct s3_content content = {.name = upload->name, .body = body, .reported = &reported};
    struct s3_response response = {0};
    int r;

    if (asprintf(&query, "partNumber=%u&uploadId=%s", upload->n_parts + 1, upload->id) < 0) {
        query = NULL;
        return fail_memory(upload->s3);
    }
    content.query = query;
    r = s3_send_content(upload->s3, &content, upload->algorithm, digest, &response);
    if (r < 0)
        return r;
    *part = (struct s3_part){.number = upload->n_parts + 1, .size = body->size};
    strcpy(part->etag, response.etag);
    strcpy(part->checksum, digest->text);
    return 0;
}

static int digest_part(struct s3_upload *upload, const struct s3_body *body, struct s3_digest *ret)
{
    int r = s3_make_room(upload, upload->n_parts + 1);

    if (r < 0)
        return r;
    r = s3_digest_body(upload->algorithm, &upload->s3->crc, body, ret);
    return r < 0 ? s3_fail_reading(upload->s3, r) : 0;
}

static void add_part(struct s3_upload *upload, const struct s3_body *body,
                     const struct s3_digest *digest)
{
    upload->sums[upload->n_parts].size = body->size;
    memcpy(upload->sums[upload->n_parts].sum, digest->sum, sizeof(digest->sum));
    upload->n_parts++;
    upload->size += body->size;
}

int s3_upload_part(struct s3_upload *upload, const struct s3_body *body)
{
    struct s3 *s3 = upload->s3;
    struct s3_digest digest;
    int r = digest_part(upload, body, &digest);

    if (r < 0)
        return r;
    if (is_there(upload, body, &digest)) {
        upload->n_resumed++;
        if (s3->on_progress)
            s3->on_progress(s3->progress_context, body->size);
    } else {
        r = send_part(upload, body, &digest);
        if (r < 0)
            return r;
    }
    add_part(upload, body, &digest);
    return 0;
}

int s3_upload_reckon(struct s3_upload *upload, const struct s3_body *body)
{
    struct s3_digest digest;
    int r;

    upload->algorithm = upload->s3->algorithm;
    r = digest_part(upload, body, &digest);
    if (r == 0)
        add_part(upload, body, &digest);
    return r;
}

bool s3_upload_is_done(struct s3_upload *upload)
{
    struct s3 *s3 = upload->s3;
    char checksum[S3_CHECKSUM_TEXT];

    s3->is_verified = s3_object_checksum(upload->algorithm, &s3->crc, upload->sums, upload->n_parts,
                                         checksum) == 0 &&
                      s3_look_up(s3, upload->name, upload->algorithm, checksum, upload->size) == 1;
    return s3->is_verified;
}

/* Text content of XML; an ETag is printable ASCII, or what expat took for a text. */
static void put_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else
            fputc(*text, out);
    }
}

static int make_list(const struct s3_upload *upload, char **ret, size_t *ret_size)
{
    const char *name = s3_algorithm_facts(upload->algorithm)->name;
    FILE *out = open_memstream(ret, ret_size);

    if (!out)
        return -ENOMEM;
    fputs("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", out);
    for (unsigned i = 0; i < upload->n_parts; i++) {
        fputs("<Part>", out);
        if (name)
            fprintf(out, "<Checksum%s>%s</Checksum%s>", name, upload->parts[i].checksum, name);
        fputs("<ETag>", out);
        put_escaped(out, upload->parts[i].etag);
        fprintf(out, "</ETag><PartNumber>%u</PartNumber></Part>", i + 1);
    }
    fputs("</CompleteMultipartUpload>", out);
    return fclose(out) == 0 ? 0 : -ENOMEM;
}

/* CompleteMultipartUpload. Returns 1, 0 or -EBADMSG as s3_compare(), or as s3_send(). */
static int complete(struct s3_upload *upload, const char *checksum)
{
    const struct s3_algorithm_facts *facts = s3_algorithm_facts(upload->algorithm);
    _cleanup_s3_headers_ struct s3_headers headers = {0};
    struct s3_request request = {.method = "POST",
                                 .content_type = "application/xml",
                                 .headers = &headers,
                                 .reply_root = "CompleteMultipartUploadResult",
                                 .takes_long = true};
    struct s3_response response = {0};
    const struct s3_claim claim = {.checksum = response.reply.checksum,
                                   .etag = response.reply.etag,
                                   .encryption = response.encryption};
    _cleanup_free_ char *list = NULL;
    size_t list_size = 0;
    char size[24];
    int r = make_list(upload, &list, &list_size);

    snprintf(size, sizeof(size), "%" PRIu64, upload->size);
    if (r == 0)
        r = s3_headers_add(&headers, "x-amz-mp-object-size", size);
    if (r == 0 && facts->is_full_object)
        r = s3_headers_add(&headers, facts->header, checksum);
    if (r == 0 && facts->is_full_object)
        r = s3_headers_add(&headers, "x-amz-checksum-type", "FULL_OBJECT");
    if (r < 0)
        return s3_fail(upload->s3, r, strerrordesc_np(-r));
    request.body = (struct s3_body){.data = list, .size = list_size};
    r = send_about(upload, &request, &response);
    return r < 0 ? r : s3_compare(upload->s3, upload->algorithm, checksum, &claim);
}

/* A reply that got lost: the upload is no more, or it can't be told whether it is. */
static bool may_be_done(const struct s3 *s3)
{
    return s3->failure.transient || strcmp(s3->failure.code, "NoSuchUpload") == 0;
}

int s3_upload_complete(struct s3_upload *upload)
{
    struct s3 *s3 = upload->s3;
    char checksum[S3_CHECKSUM_TEXT];
    int r =
        s3_object_checksum(upload->algorithm, &s3->crc, upload->sums, upload->n_parts, checksum);

    if (r < 0)
        return s3_fail(s3, r, strerrordesc_np(-r));
    r = complete(upload, checksum);
    if (r < 0 && may_be_done(s3)) {
        struct s3_failure reason = s3->failure;

        if (s3_look_up(s3, upload->name, upload->algorithm, checksum, upload->size) == 1)
            r = 1;
        else
            s3->failure = reason;
    }
    s3->is_verified = r == 1;
    if (r == 0)
        r = check(s3, upload->name, upload->algorithm, checksum, upload->size);
    /* Right or, as we found out, wrong: the upload is an object now. */
    if (r >= 0 || (r == -EBADMSG && s3->failure.code[0] == '\0'))
        free(take_ptr(upload->id));
    return r < 0 ? r : 0;
}

void s3_upload_leave(struct s3_upload *upload)
{
    free(upload->parts);
    free(upload->sums);
    free(upload->id);
    memset(upload, 0, sizeof(*upload));
}

void s3_upload_end(struct s3_upload *upload)
{
    if (upload->id)
        abort_upload(upload);
    s3_upload_leave(upload);
}
