#include "bundle/json_write.h"

#include <errno.h>
#include <string.h>

/* Seconds with fractions: as many digits as a uptime of years with milliseconds has. */
#define REAL_DIGITS 12

/* jansson gives its text in crumbs, and a sink may make a system call of each. */
struct writer {
    struct sink *sink;
    int error;
    size_t used;
    char buffer[4096];
};

static int flush(struct writer *writer)
{
    if (writer->error == 0 && writer->used > 0)
        writer->error = sink_write(writer->sink, writer->buffer, writer->used);
    writer->used = 0;
    return writer->error;
}

static int take_crumb(const char *text, size_t size, void *context)
{
    struct writer *writer = context;

    while (size > 0) {
        size_t room = sizeof(writer->buffer) - writer->used, part = size < room ? size : room;

        memcpy(writer->buffer + writer->used, text, part);
        writer->used += part;
        text += part;
        size -= part;
        if (writer->used == sizeof(writer->buffer) && flush(writer) < 0)
            return -1;
    }
    return 0;
}

int json_write(const json_t *json, struct sink *sink)
{
    struct writer writer = {.sink = sink};
    int r = json_dump_callback(json, take_crumb, &writer,
                               JSON_INDENT(2) | JSON_REAL_PRECISION(REAL_DIGITS));

    if (r < 0)
        return writer.error < 0 ? writer.error : -ENOMEM;
    (void)take_crumb("\n", 1, &writer);
    return flush(&writer);
}
