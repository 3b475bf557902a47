#include "store/s3_upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/log.h"

#define MIB ((uint64_t)1 << 20)

uint64_t s3_file_part_bytes(uint64_t size)
{
    uint64_t part = size / S3_MAX_PARTS + (size % S3_MAX_PARTS > 0);

    part = (part + MIB - 1) / MIB * MIB;
    if (part < S3_SINGLE_PUT_BYTES)
        return S3_SINGLE_PUT_BYTES;
    return part <= S3_MAX_PART_BYTES ? part : 0;
}

size_t s3_stream_part_bytes(unsigned number)
{
    static const struct {
        unsigned last;
        size_t bytes;
    } schedule[] = {
        {1000, 8 * MIB},
        {4000, 16 * MIB},
        {S3_MAX_PARTS, 32 * MIB},
    };

    for (size_t i = 0; i < sizeof(schedule) / sizeof(schedule[0]); i++)
        if (number <= schedule[i].last)
            return schedule[i].bytes;
    return 0;
}

int s3_put_object(struct s3 *s3, const char *name, const struct s3_body *body)
{
    const struct s3_request request = {
        .method = "PUT", .name = name, .body = *body, .needs_etag = true};
    struct s3_response response;

    return s3_send(s3, &request, &response);
}

static int fail_memory(struct s3 *s3)
{
    return s3_fail(s3, -ENOMEM, "out of memory");
}

int s3_upload_begin(struct s3 *s3, const char *name, struct s3_upload *ret)
{
    const struct s3_request request = {.method = "POST",
                                       .name = name,
                                       .query = "uploads=",
                                       .reply_root = "InitiateMultipartUploadResult"};
    struct s3_response response;
    int r;

    ret->s3 = s3;
    ret->name = name;
    ret->n_parts = 0;
    ret->list = open_memstream(&ret->xml, &ret->xml_size);
    if (!ret->list)
        return fail_memory(s3);
    fputs("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", ret->list);

    r = s3_send(s3, &request, &response);
    if (r < 0)
        return r;
    if (response.reply.upload_id[0] == '\0')
        return s3_fail(s3, -EPROTO, "the reply names no upload; is the endpoint an S3 server?");
    ret->id = s3_encode_value(response.reply.upload_id);
    return ret->id ? 0 : fail_memory(s3);
}

/* Text content of XML; an ETag is printable ASCII by now. */
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

int s3_upload_part(struct s3_upload *upload, const struct s3_body *body)
{
    _cleanup_free_ char *query = NULL;
    struct s3_request request = {
        .method = "PUT", .name = upload->name, .body = *body, .needs_etag = true};
    struct s3_response response;
    int r;

    if (asprintf(&query, "partNumber=%u&uploadId=%s", upload->n_parts + 1, upload->id) < 0) {
        query = NULL;
        return fail_memory(upload->s3);
    }
    request.query = query;
    r = s3_send(upload->s3, &request, &response);
    if (r < 0)
        return r;
    upload->n_parts++;
    fprintf(upload->list, "<Part><PartNumber>%u</PartNumber><ETag>", upload->n_parts);
    put_escaped(upload->list, response.etag);
    fputs("</ETag></Part>", upload->list);
    return 0;
}

/* Asks for something about the whole upload. */
static int send_about(const struct s3_upload *upload, struct s3_request *request)
{
    _cleanup_free_ char *query = NULL;
    struct s3_response response;

    if (asprintf(&query, "uploadId=%s", upload->id) < 0) {
        query = NULL;
        return fail_memory(upload->s3);
    }
    request->name = upload->name;
    request->query = query;
    return s3_send(upload->s3, request, &response);
}

int s3_upload_complete(struct s3_upload *upload)
{
    struct s3_request request = {.method = "POST",
                                 .content_type = "application/xml",
                                 .reply_root = "CompleteMultipartUploadResult",
                                 .takes_long = true};
    int r;

    fputs("</CompleteMultipartUpload>", upload->list);
    if (fflush(upload->list) != 0 || ferror(upload->list))
        return fail_memory(upload->s3);
    request.body = (struct s3_body){.data = upload->xml, .size = upload->xml_size};
    r = send_about(upload, &request);
    if (r < 0)
        return r;
    free(take_ptr(upload->id));
    return 0;
}

static void abort_upload(struct s3_upload *upload)
{
    struct s3_request request = {.method = "DELETE"};
    struct s3_failure reason = upload->s3->failure;

    if (send_about(upload, &request) < 0)
        log_warning("parts of %s stay in %s until upload %s is aborted (a lifecycle rule can do "
                    "that): %s",
                    upload->name, upload->s3->destination, upload->id, upload->s3->failure.words);
    upload->s3->failure = reason;
}

void s3_upload_end(struct s3_upload *upload)
{
    if (upload->id)
        abort_upload(upload);
    if (upload->list)
        fclose(upload->list);
    free(upload->xml);
    free(upload->id);
    memset(upload, 0, sizeof(*upload));
}
