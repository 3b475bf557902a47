#include "ctl/delivery.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "store/artifact_sink.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"
#include "util/log.h"

int write_file(void *context, struct sink *sink)
{
    const int *fd = context;
    char buffer[64 * 1024];
    uint64_t at = 0;
    ssize_t n;
    int r;

    while ((n = pread_full(*fd, buffer, sizeof(buffer), at)) > 0) {
        r = sink_write(sink, buffer, (size_t)n);
        if (r < 0)
            return r;
        at += (uint64_t)n;
    }
    return (int)n;
}

static void artifact_name(const struct delivery *delivery, enum artifact_kind kind,
                          char ret[NAME_MAX + 1])
{
    snprintf(ret, NAME_MAX + 1, "%.*s%s", NAME_MAX - 16, delivery->bundle->id,
             artifact_suffixes[kind]);
}

__attribute__((format(printf, 2, 3))) static void fail(struct artifact *artifact,
                                                       const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(artifact->error, sizeof(artifact->error), format, arguments);
    va_end(arguments);
}

static void tell_no_place(struct delivery *delivery, const char *name, struct artifact *artifact,
                          const struct artifact_places *places)
{
    char why[512] = "";

    delivery->has_lost = true;
    if (places->sending)
        (void)sending_look(places->sending, why, sizeof(why));
    if (places->spool_error && delivery->spool)
        fail(artifact, "cannot be written to the cores dir: %s%s%.400s",
             strerrordesc_np(-places->spool_error), why[0] ? "; " : "", why);
    else
        fail(artifact, "%.500s", why);
    log_error("%s is nowhere: %s", name, artifact->error);
}

static bool is_late(void *context)
{
    return deadline_is_near(context);
}

/* Where it went, or why it went nowhere. Returns as deliver(). */
static int judge(struct delivery *delivery, const char *name, struct artifact *artifact, int error,
                 bool is_sink_error, const struct artifact_places *places)
{
    artifact->made = error == 0;
    artifact->in_cores_dir = places->in_spool;
    if (places->spool_error && delivery->spool)
        log_warning("%s cannot be written to %s: %s", name, delivery_settings(delivery)->cores_dir,
                    strerrordesc_np(-places->spool_error));
    if (error == -ETIME) {
        fail(artifact, "left out: there was no time left");
        log_warning("%s is left out: there is no time left", name);
    } else if (error < 0 && is_sink_error) {
        tell_no_place(delivery, name, artifact, places);
        return -EREMOTEIO;
    } else if (error < 0) {
        fail(artifact, "cannot be read: %s", strerrordesc_np(-error));
        log_error("%s cannot be made: %s", name, artifact->error);
    } else if (!places->in_spool) {
        log_info("%s went straight to %s", name, uploader_destination(delivery->uploader));
    }
    return error;
}

/* What was there before is in neither place replaced. */
static int keep_before(struct artifact *artifact, const struct artifact *before, const char *name,
                       int error)
{
    *artifact = *before;
    log_warning("%s stays as it was before it could be made anew: %s", name,
                error == -ETIME ? "there is no time left" : strerrordesc_np(-error));
    return error;
}

/* @is_sent: not for the spool alone. */
static int make(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
                void *context, bool is_sent)
{
    const bool has_time = kind == ARTIFACT_CORE || kind == ARTIFACT_CRASH_JSON;
    struct artifact *artifact = &delivery->bundle->artifacts[kind];
    const struct artifact before = *artifact;
    char name[NAME_MAX + 1];
    const struct artifact_sink_settings settings = {
        .spool = delivery->spool,
        .policy = &delivery->policy,
        .uploader = is_sent ? delivery->uploader : NULL,
        .kind = kind,
        .name = name,
        .is_late = has_time ? NULL : is_late,
        .context = delivery->deadline,
    };
    struct artifact_places places;
    bool is_sink_error;
    struct sink *sink;
    int r;

    artifact_name(delivery, kind, name);
    artifact->error[0] = '\0';
    artifact->in_s3 = false;
    r = artifact_sink(&settings, &places, &sink);
    if (r < 0)
        return log_errno(r, "%s cannot be made", name);
    r = write(context, sink);
    if (r == 0)
        r = sink_commit(sink, artifact->sha256);
    artifact->size = sink->size;
    is_sink_error = sink->error != 0;
    sink_close(sink);
    if (r < 0 && before.made && kind != ARTIFACT_CRASH_JSON)
        return keep_before(artifact, &before, name, r);
    if (is_sent)
        delivery->sendings[kind] = places.sending;
    return judge(delivery, name, artifact, r, is_sink_error, &places);
}

int deliver(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
            void *context)
{
    return make(delivery, kind, write, context, true);
}

bool deliver_left(struct delivery *delivery, enum artifact_kind kind)
{
    struct artifact *artifact = &delivery->bundle->artifacts[kind];
    _cleanup_close_ int fd = -1;
    char name[NAME_MAX + 1];
    uint64_t size;

    if (!delivery->is_adopted)
        return false;
    artifact_name(delivery, kind, name);
    fd = spool_read(delivery->spool, name, &size);
    if (fd < 0 || sha256_hex_range(fd, 0, size, artifact->sha256) < 0)
        return false;
    artifact->size = size;
    artifact->made = artifact->in_cores_dir = true;
    if (delivery->uploader &&
        uploader_send_file(delivery->uploader, kind, &delivery->sendings[kind]) < 0)
        delivery->sendings[kind] = NULL;
    return true;
}

bool delivery_has(const struct delivery *delivery, enum artifact_kind kind)
{
    _cleanup_close_ int fd = -1;
    char name[NAME_MAX + 1];
    uint64_t size;

    if (!delivery->spool)
        return false;
    artifact_name(delivery, kind, name);
    fd = spool_read(delivery->spool, name, &size);
    return fd >= 0;
}

static int write_early_account(void *context, struct sink *sink)
{
    return crash_json_write(context, false, sink);
}

static int write_account(void *context, struct sink *sink)
{
    return crash_json_write(context, true, sink);
}

/* Into S3 alone: the spool's is a .part, that isn't committed. */
static void send_early_account(struct delivery *delivery, const char *name)
{
    const struct artifact_sink_settings settings = {
        .uploader = delivery->uploader, .kind = SENDING_EARLY, .name = name};
    _cleanup_sink_ struct sink *sink = NULL;
    struct artifact_places places;
    char sha256[65];

    if (artifact_sink(&settings, &places, &sink) == 0 &&
        write_early_account(delivery->bundle, sink) == 0)
        (void)sink_commit(sink, sha256);
}

static void keep_early_account(struct delivery *delivery, const char *name)
{
    sink_close(take_ptr(delivery->early));
    if (spool_sink(delivery->spool, name, &delivery->early) == 0)
        (void)write_early_account(delivery->bundle, delivery->early);
    else
        delivery->early = NULL;
}

void deliver_early_account(struct delivery *delivery)
{
    char name[NAME_MAX + 1];

    artifact_name(delivery, ARTIFACT_CRASH_JSON, name);
    if (delivery->spool)
        keep_early_account(delivery, name);
    if (delivery->uploader)
        send_early_account(delivery, name);
}

void delivery_leave_unfinished(struct delivery *delivery)
{
    char name[NAME_MAX + 1];

    artifact_name(delivery, ARTIFACT_CRASH_JSON, name);
    keep_early_account(delivery, name);
    if (delivery->early)
        spool_sink_keep(delivery->early);
}

void delivery_settle(struct delivery *delivery)
{
    struct bundle *bundle = delivery->bundle;

    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++) {
        struct artifact *artifact = &bundle->artifacts[kind];
        char why[sizeof(artifact->error)] = "";

        if (!artifact->made || !delivery->sendings[kind])
            continue;
        artifact->in_s3 = sending_wait(delivery->sendings[kind], why, sizeof(why)) == 0;
        if (!artifact->in_s3 && !artifact->error[0])
            fail(artifact, ARTIFACT_NOT_SENT "%.480s", why);
    }
    if (delivery->spool && delivery->uploader && uploader_has_failed(delivery->uploader) &&
        !delivery->has_told) {
        delivery->has_told = true;
        log_error("not all was sent to s3://%s/%s; what is whole stays in %s",
                  delivery_settings(delivery)->bucket, delivery_settings(delivery)->key_prefix,
                  delivery_settings(delivery)->cores_dir);
    }
}

static bool has_all_in_s3(const struct delivery *delivery)
{
    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++)
        if (delivery->bundle->artifacts[kind].made && !delivery->bundle->artifacts[kind].in_s3)
            return false;
    return delivery->uploader && !uploader_has_failed(delivery->uploader);
}

static bool is_to_go(const struct delivery *delivery)
{
    return delivery->spool && delivery_settings(delivery)->keep_local != KEEP_ALWAYS &&
           has_all_in_s3(delivery) && spool_is_verified(delivery->spool);
}

/* What crash.json says of the cores dir, where nothing is going to be kept there. */
static void tell_in_spool(struct bundle *bundle, bool is_there)
{
    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++)
        if (bundle->artifacts[kind].made)
            bundle->artifacts[kind].in_cores_dir = is_there;
}

int deliver_account(struct delivery *delivery, bool is_final)
{
    struct sending **sending = &delivery->sendings[ARTIFACT_CRASH_JSON];
    char why[512];
    int r;

    sink_close(take_ptr(delivery->early));
    if (!is_final || !is_to_go(delivery))
        return make(delivery, ARTIFACT_CRASH_JSON, write_account, delivery->bundle, is_final);
    tell_in_spool(delivery->bundle, false);
    r = make(delivery, ARTIFACT_CRASH_JSON, write_account, delivery->bundle, true);
    if (r < 0 || (*sending && sending_wait(*sending, why, sizeof(why)) == 0))
        return r;
    tell_in_spool(delivery->bundle, true);
    return make(delivery, ARTIFACT_CRASH_JSON, write_account, delivery->bundle, false);
}

/* What is to be kept of a bundle that is in the spool. */
static void settle_spool(struct delivery *delivery, bool is_sent)
{
    const struct crash_settings *settings = delivery_settings(delivery);
    const char *id = delivery->bundle->id;
    int r;

    if (is_sent)
        (void)spool_note_sent_all(delivery->spool);
    if (delivery->is_spool_lent)
        return;
    if (is_sent && settings->keep_local != KEEP_ALWAYS && !spool_is_verified(delivery->spool)) {
        log_warning("%s stays in %s all the same: the bucket tells nothing that it could be "
                    "compared with",
                    id, settings->cores_dir);
    } else if (is_sent && settings->keep_local != KEEP_ALWAYS) {
        r = spool_remove(delivery->spool, id);
        if (r < 0)
            log_errno(r, "cannot remove %s, which was sent, from %s", id, settings->cores_dir);
    } else if (!is_sent && settings->keep_local == KEEP_NEVER && settings->bucket[0]) {
        log_warning("%s stays in %s all the same: not all of it was sent", id, settings->cores_dir);
    }
    (void)spool_make_room(delivery->spool, &delivery->policy, 0);
}

bool delivery_stays(const struct delivery *delivery)
{
    struct sending *account = delivery->sendings[ARTIFACT_CRASH_JSON];
    char why[512];

    return delivery->spool &&
           !(is_to_go(delivery) && account && sending_look(account, why, sizeof(why)) == 0);
}

int delivery_end(struct delivery *delivery)
{
    struct sending *account = delivery->sendings[ARTIFACT_CRASH_JSON];
    const bool is_wanted = delivery_settings(delivery)->bucket[0] != '\0';
    char why[512];
    const bool is_sent = !delivery->has_lost && has_all_in_s3(delivery) && account &&
                         sending_wait(account, why, sizeof(why)) == 0;

    if (delivery->spool)
        settle_spool(delivery, is_sent);
    if (delivery->has_lost || (is_wanted && !is_sent && !delivery->spool))
        return -EREMOTEIO;
    return is_wanted && !is_sent ? -EAGAIN : 0;
}

bool delivery_abandon(struct delivery *delivery)
{
    return delivery->spool && spool_abandon(delivery->spool, delivery->bundle->id);
}

void delivery_close(struct delivery *delivery)
{
    delivery_disconnect(delivery);
    sink_close(take_ptr(delivery->early));
    if (!delivery->is_spool_lent)
        spool_close(take_ptr(delivery->spool));
}
