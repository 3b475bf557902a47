#include "store/s3_list_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_client.h"
#include "util/cleanup.h"
#include "util/log.h"

/* So many fit into S3_MAX_REPLY_BYTES. */
#define PAGE_PARTS 100

int s3_make_room(struct s3_upload *upload, unsigned number)
{
    unsigned n_room = upload->n_room > 0 ? upload->n_room : 16;
    struct s3_part *parts;
    struct s3_part_sum *sums;

    if (number > S3_MAX_PARTS)
        return s3_fail(upload->s3, -EFBIG, "an S3 object has at most 10,000 parts");
    if (number <= upload->n_room)
        return 0;
    while (n_room < number)
        n_room *= 2;
    parts = reallocarray(upload->parts, n_room, sizeof(*parts));
    if (parts)
        upload->parts = parts;
    sums = reallocarray(upload->sums, n_room, sizeof(*sums));
    if (sums)
        upload->sums = sums;
    if (!parts || !sums)
        return s3_fail(upload->s3, -ENOMEM, "out of memory");
    memset(parts + upload->n_room, 0, (n_room - upload->n_room) * sizeof(*parts));
    upload->n_room = n_room;
    return 0;
}

/* One page of the list. */
struct page {
    struct s3_upload *upload;
    unsigned marker; /* the last part that was read, on earlier pages too */
    int error;
};

static void on_part(void *context, const struct s3_part *part)
{
    struct page *page = context;

    if (page->error)
        return;
    if (part->number <= page->marker || part->number > S3_MAX_PARTS)
        page->error = s3_fail(page->upload->s3, -EPROTO, "the list of parts is out of order");
    else
        page->error = s3_make_room(page->upload, part->number);
    if (page->error)
        return;
    page->marker = part->number;
    page->upload->parts[part->number - 1] = *part;
}

/* Returns whether there are more pages, or an error. */
static int list_page(struct page *page, struct s3_response *response)
{
    const struct s3_upload *upload = page->upload;
    const unsigned before = page->marker;
    _cleanup_free_ char *query = NULL;
    struct s3_request request = {.method = "GET",
                                 .name = upload->name,
                                 .reply_root = "ListPartsResult",
                                 .on_part = on_part,
                                 .part_context = page};
    int r;

    if (asprintf(&query, "max-parts=%d&part-number-marker=%u&uploadId=%s", PAGE_PARTS, before,
                 upload->id) < 0) {
        query = NULL;
        return s3_fail(upload->s3, -ENOMEM, "out of memory");
    }
    request.query = query;
    r = s3_send(upload->s3, &request, response);
    if (r < 0 || page->error)
        return r < 0 ? r : page->error;
    if (strcmp(response->reply.is_truncated, "true") != 0)
        return 0;
    return page->marker > before ? 1 : s3_fail(upload->s3, -EPROTO, "the list of parts has no end");
}

/* Whether a failure leaves open what is there. */
static bool may_pass(const struct s3 *s3)
{
    return s3->failure.transient || s3->failure.error == -ETIMEDOUT || s3->failure.error == -ENOMEM;
}

static int give_up(const struct s3_upload *upload, const char *why)
{
    log_info("the upload of %s can't be gone on with: %s", upload->name, why);
    return 0;
}

int s3_list_parts(struct s3_upload *upload)
{
    struct page page = {.upload = upload};
    struct s3 *s3 = upload->s3;
    struct s3_response response;
    int r;

    do
        r = list_page(&page, &response);
    while (r == 1);
    if (r < 0 && may_pass(s3))
        return r;
    if (r < 0) {
        if (strcmp(s3->failure.code, "NoSuchUpload") == 0)
            free(take_ptr(upload->id));
        return give_up(upload, s3->failure.words);
    }
    upload->algorithm = response.reply.checksum_algorithm[0]
                            ? s3_algorithm_of(response.reply.checksum_algorithm)
                            : S3_MD5;
    if (page.marker == 0)
        return give_up(upload, "it has no parts");
    if (upload->algorithm == S3_ALGORITHMS ||
        (s3->is_algorithm_set && upload->algorithm != s3->algorithm))
        return give_up(upload, "its parts have another kind of checksum");
    return 1;
}
