#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3.h"
#include "store/s3_client.h"
#include "store/s3_upload.h"
#include "util/cleanup.h"

struct s3_sink {
    struct sink sink;
    struct s3 *s3;
    char *name;
    char *part; /* what is not sent yet */
    size_t part_bytes, used;
    struct s3_upload upload; /* begun with the first part that is full */
    int error;               /* of the first step that failed, logged then */
};

static int fail(struct s3_sink *sink, int error)
{
    sink->error = error;
    return s3_report(sink->s3, sink->name);
}

static int prepare_part(struct s3_sink *sink, unsigned number)
{
    size_t bytes = s3_stream_part_bytes(number);

    if (bytes == 0)
        return s3_fail(sink->s3, -EFBIG, "a stream to S3 has at most 242 GiB");
    if (bytes != sink->part_bytes) {
        free(sink->part);
        sink->part_bytes = 0;
        sink->part = malloc(bytes);
        if (!sink->part)
            return s3_fail(sink->s3, -ENOMEM, "out of memory");
        sink->part_bytes = bytes;
    }
    sink->used = 0;
    return 0;
}

static int send_part(struct s3_sink *sink)
{
    const struct s3_body body = {.data = sink->part, .size = sink->used};
    int r = sink->upload.id ? 0 : s3_upload_begin(sink->s3, sink->name, &sink->upload);

    return r < 0 ? r : s3_upload_part(&sink->upload, &body);
}

static int begin_next_part(struct s3_sink *sink)
{
    int r = send_part(sink);

    if (r == 0)
        r = prepare_part(sink, sink->upload.n_parts + 1);
    return r < 0 ? fail(sink, r) : 0;
}

/* A full part is sent when there is more: the last one is never empty, and what fits into the first
 * one is no multipart upload at all. */
static int s3_sink_write(struct sink *base, const void *data, size_t size)
{
    struct s3_sink *sink = (struct s3_sink *)base;
    const char *next = data;

    while (sink->error == 0 && size > 0) {
        size_t room = sink->part_bytes - sink->used;
        size_t n = size < room ? size : room;

        if (room == 0 && begin_next_part(sink) < 0)
            break;
        memcpy(sink->part + sink->used, next, n);
        sink->used += n;
        next += n;
        size -= n;
    }
    return sink->error;
}

static int s3_sink_commit(struct sink *base)
{
    struct s3_sink *sink = (struct s3_sink *)base;
    const struct s3_body whole = {.data = sink->part, .size = sink->used};
    int r;

    if (sink->error)
        return sink->error;
    if (!sink->upload.id) {
        r = s3_put_object(sink->s3, sink->name, &whole);
    } else {
        r = send_part(sink);
        if (r == 0)
            r = s3_upload_complete(&sink->upload);
    }
    return r < 0 ? fail(sink, r) : 0;
}

static void s3_sink_close(struct sink *base)
{
    struct s3_sink *sink = (struct s3_sink *)base;

    s3_upload_end(&sink->upload);
    free(sink->part);
    free(sink->name);
    free(sink);
}

static const struct sink_ops s3_sink_ops = {
    .write = s3_sink_write,
    .commit = s3_sink_commit,
    .close = s3_sink_close,
};

int s3_sink(struct s3 *s3, const char *name, struct sink **ret)
{
    struct s3_sink *sink = calloc(1, sizeof(*sink));

    if (!sink)
        return -ENOMEM;
    sink->s3 = s3;
    sink->name = strdup(name);
    if (!sink->name || prepare_part(sink, 1) < 0 || sink_init(&sink->sink, &s3_sink_ops) < 0) {
        s3_sink_close(&sink->sink);
        return -ENOMEM;
    }
    *ret = &sink->sink;
    return 0;
}
