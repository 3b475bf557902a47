#include "store/artifact_sink.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

struct artifact_sink {
    struct sink sink;
    const struct artifact_sink_settings *settings;
    struct artifact_places *places;
    struct sink *file; /* the spool's; NULL: it takes nothing (any more) */
    bool has_ended;    /* the sending's maker, that is */
};

static void give_up_file(struct artifact_sink *sink, int error)
{
    sink->places->spool_error = error;
    sink_close(take_ptr(sink->file)); /* the uploader has a descriptor of its own */
}

static bool make_room(struct artifact_sink *sink, size_t size)
{
    const struct artifact_sink_settings *settings = sink->settings;

    return spool_make_room(settings->spool, settings->policy, size) == 0 &&
           spool_sink_undo(sink->file) == 0;
}

/* The bytes are hashed once, by the sink around the file's: so its functions are called directly.
 */
static int write_file(struct artifact_sink *sink, const void *data, size_t size)
{
    struct sink *file = sink->file;
    int r = file->ops->write(file, data, size);

    if (r == -ENOSPC && make_room(sink, size))
        r = file->ops->write(file, data, size);
    return r;
}

static int artifact_sink_write(struct sink *base, const void *data, size_t size)
{
    struct artifact_sink *sink = (struct artifact_sink *)base;
    struct sending *sending = sink->places->sending;
    int r;

    if (sink->settings->is_late && sink->settings->is_late(sink->settings->context))
        return -ETIME;
    if (sink->file) {
        r = write_file(sink, data, size);
        if (r == 0) {
            if (sending)
                sending_grew(sending, base->size + size);
            return 0;
        }
        give_up_file(sink, r);
    }
    return sending ? sending_push(sending, data, size) : sink->places->spool_error;
}

static int artifact_sink_commit(struct sink *base)
{
    struct artifact_sink *sink = (struct artifact_sink *)base;
    struct artifact_places *places = sink->places;
    char sha256[65], why[512];
    int r;

    r = sink_digest(base, sha256);
    if (r < 0)
        return r;
    if (sink->file) {
        r = sink->file->ops->commit(sink->file);
        places->in_spool = r == 0;
        if (r < 0)
            give_up_file(sink, r);
    }
    if (places->sending) {
        sending_end(places->sending, sha256);
        sink->has_ended = true;
    }
    if (places->in_spool || sink->settings->kind == SENDING_EARLY)
        return 0;
    return places->sending ? sending_wait(places->sending, why, sizeof(why)) : places->spool_error;
}

static void artifact_sink_close(struct sink *base)
{
    struct artifact_sink *sink = (struct artifact_sink *)base;

    sink_close(sink->file);
    if (sink->places->sending && !sink->has_ended)
        sending_abandon(sink->places->sending);
    free(sink);
}

static const struct sink_ops artifact_sink_ops = {
    .write = artifact_sink_write,
    .commit = artifact_sink_commit,
    .close = artifact_sink_close,
};

/* Opens the spool's file, and has the uploader follow it. */
static void open_file(struct artifact_sink *sink)
{
    const struct artifact_sink_settings *settings = sink->settings;
    struct sending *sending = sink->places->sending;
    int fd, r = spool_sink(settings->spool, settings->name, &sink->file);

    if (r < 0) {
        sink->file = NULL;
        sink->places->spool_error = r;
        return;
    }
    fd = sending ? spool_sink_reader(sink->file) : -1;
    if (fd >= 0)
        sending_follow(sending, fd);
    else if (sending)
        give_up_file(sink, fd);
}

int artifact_sink(const struct artifact_sink_settings *settings, struct artifact_places *places,
                  struct sink **ret)
{
    struct artifact_sink *sink = calloc(1, sizeof(*sink));
    int r = sink ? sink_init(&sink->sink, &artifact_sink_ops) : -ENOMEM;

    *places = (struct artifact_places){0};
    if (r == 0 && settings->uploader)
        r = uploader_begin(settings->uploader, settings->kind, &places->sending);
    if (r < 0) {
        if (sink)
            EVP_MD_CTX_free(sink->sink.hash);
        free(sink);
        return r;
    }
    sink->settings = settings;
    sink->places = places;
    if (settings->spool)
        open_file(sink);
    else if (!places->sending)
        places->spool_error = -ENOENT;
    *ret = &sink->sink;
    return 0;
}
