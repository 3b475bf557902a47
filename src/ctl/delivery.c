#include "ctl/delivery.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* More crashes than this of one task in one second are no use to anyone. */
#define MAX_ORDINAL 1000

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

static void artifact_name(const struct bundle *bundle, enum artifact_kind kind, char *ret,
                          size_t size)
{
    snprintf(ret, size, "%s%s", bundle->id, artifact_suffixes[kind]);
}

static int take_id(struct delivery *delivery)
{
    struct bundle *bundle = delivery->bundle;
    const struct crash_record *record = bundle->record;
    int r;

    for (unsigned ordinal = record->ordinal; ordinal <= MAX_ORDINAL; ordinal++) {
        r = bundle_id(record->settings.key_prefix, record->ended_realtime.tv_sec, bundle->hostname,
                      record->settings.run_id, ordinal, bundle->id, sizeof(bundle->id));
        if (r < 0)
            return log_errno(r, "cannot name the bundle: S3_KEY_PREFIX, hostname or RUN_ID is too "
                                "long");
        r = delivery->spool ? spool_claim(delivery->spool, bundle->id) : 0;
        if (r != -EEXIST)
            return r;
    }
    return -EEXIST;
}

/* A spool that can't be used is one warning; the bundle then goes to S3 alone. */
static void open_spool(struct delivery *delivery)
{
    const char *path = delivery->bundle->record->settings.cores_dir;
    int r = spool_open(path, &delivery->spool);

    if (r < 0) {
        log_warning("cannot keep the bundle in %s: %s", path, strerrordesc_np(-r));
        delivery->spool = NULL;
    }
}

static void open_s3(struct delivery *delivery)
{
    const struct crash_settings *settings = &delivery->bundle->record->settings;
    const struct s3_settings s3_settings = {
        .bucket = settings->bucket,
        .key_prefix = settings->key_prefix,
        .region = settings->region,
        .endpoint = settings->endpoint,
    };
    int r;

    if (!settings->bucket[0])
        return;
    r = s3_open(&s3_settings, &delivery->s3);
    if (r < 0) {
        delivery->s3 = NULL;
        snprintf(delivery->s3_error, sizeof(delivery->s3_error), "not sent: %s",
                 r == -ENOKEY ? "no credentials were found" : strerrordesc_np(-r));
    }
}

int delivery_open(struct delivery *delivery, struct bundle *bundle)
{
    int r;

    memset(delivery, 0, sizeof(*delivery));
    delivery->bundle = bundle;
    open_spool(delivery);
    open_s3(delivery);
    r = take_id(delivery);
    if (r < 0 && delivery->spool) {
        log_warning("cannot keep the bundle in %s: %s", bundle->record->settings.cores_dir,
                    strerrordesc_np(-r));
        spool_close(delivery->spool);
        delivery->spool = NULL;
        r = take_id(delivery);
    }
    if (r == 0 && !delivery->spool && !delivery->s3)
        r = -ENOENT;
    if (r < 0)
        log_error("there is no place for a bundle: mount a writable volume at %s, or set S3_BUCKET",
                  bundle->record->settings.cores_dir);
    return r;
}

__attribute__((format(printf, 2, 3))) static void fail(struct artifact *artifact,
                                                       const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(artifact->error, sizeof(artifact->error), format, arguments);
    va_end(arguments);
}

/*
 * Runs the writer into one sink, to its end. Closes the sink.
 *
 * Returns 0, -EREMOTEIO where the sink failed, or the writer's own -errno.
 */
static int fill(struct sink *sink, artifact_writer *write, void *context, struct artifact *artifact)
{
    _cleanup_sink_ struct sink *owned = sink;
    int r = write(context, owned);

    if (r == 0)
        r = sink_commit(owned, artifact->sha256);
    if (owned->error) {
        artifact->sink_error = owned->error;
        return -EREMOTEIO;
    }
    if (r < 0) {
        fail(artifact, "cannot be read: %s", strerrordesc_np(-r));
        return r;
    }
    artifact->made = true;
    artifact->size = owned->size;
    return 0;
}

static int to_spool(struct delivery *delivery, const char *name, artifact_writer *write,
                    void *context, struct artifact *artifact)
{
    struct sink *sink;
    int r = spool_sink(delivery->spool, name, &sink);

    if (r < 0)
        artifact->sink_error = r;
    r = r < 0 ? -EREMOTEIO : fill(sink, write, context, artifact);
    artifact->in_cores_dir = r == 0;
    if (r == -EREMOTEIO) {
        fail(artifact, "cannot be written to the cores dir: %s",
             strerrordesc_np(-artifact->sink_error));
        log_warning("%s cannot be written to %s: %s", name,
                    delivery->bundle->record->settings.cores_dir,
                    strerrordesc_np(-artifact->sink_error));
    }
    return r;
}

/* One upload that failed, after its retries, ends all sending: what is in the spool stays there. */
static void stop_sending(struct delivery *delivery, const char *name, const char *reason)
{
    snprintf(delivery->s3_error, sizeof(delivery->s3_error),
             "not sent: the upload of %.80s failed: %.120s", name, reason);
    if (delivery->spool)
        log_error("nothing more is sent to %s; what is whole stays in %s",
                  s3_destination(delivery->s3), delivery->bundle->record->settings.cores_dir);
    else
        log_error("nothing more is sent to %s, and there is no other place",
                  s3_destination(delivery->s3));
    s3_close(delivery->s3);
    delivery->s3 = NULL;
}

static int straight_to_s3(struct delivery *delivery, const char *name, artifact_writer *write,
                          void *context, struct artifact *artifact)
{
    struct sink *sink;
    int r = s3_sink(delivery->s3, name, &sink);

    r = r < 0 ? r : fill(sink, write, context, artifact);
    artifact->in_s3 = r == 0;
    if (r == 0) {
        artifact->error[0] = '\0';
        log_info("%s went straight to %s", name, s3_destination(delivery->s3));
    } else if (r == -EREMOTEIO) {
        fail(artifact, "%s", s3_last_error(delivery->s3));
        stop_sending(delivery, name, artifact->error);
    }
    return r;
}

int deliver(struct delivery *delivery, enum artifact_kind kind, artifact_writer *write,
            void *context)
{
    struct artifact *artifact = &delivery->bundle->artifacts[kind];
    char name[512];
    int r = -EREMOTEIO;

    artifact_name(delivery->bundle, kind, name, sizeof(name));
    artifact->error[0] = '\0';
    artifact->in_s3 = false;
    if (delivery->spool)
        r = to_spool(delivery, name, write, context, artifact);
    if (r == -EREMOTEIO && delivery->s3)
        r = straight_to_s3(delivery, name, write, context, artifact);
    if (r < 0 && r != -EREMOTEIO)
        log_error("%s cannot be made: %s", name, artifact->error);
    return r;
}

static int send_from_spool(struct delivery *delivery, const char *name, struct artifact *artifact)
{
    _cleanup_close_ int fd = -1;
    uint64_t size;
    int r;

    fd = spool_read(delivery->spool, name, &size);
    if (fd < 0) {
        fail(artifact, "cannot be read back from the cores dir: %s", strerrordesc_np(-fd));
        return log_errno(fd, "cannot read %s back to send it", name);
    }
    r = s3_put_file(delivery->s3, name, fd, size, artifact->error, sizeof(artifact->error));
    artifact->in_s3 = r == 0;
    if (r < 0)
        stop_sending(delivery, name, artifact->error);
    return r;
}

void deliver_to_s3(struct delivery *delivery, enum artifact_kind kind)
{
    struct artifact *artifact = &delivery->bundle->artifacts[kind];
    char name[512];

    if (!artifact->in_cores_dir || artifact->in_s3)
        return;
    artifact_name(delivery->bundle, kind, name, sizeof(name));
    if (delivery->s3)
        (void)send_from_spool(delivery, name, artifact);
    else
        fail(artifact, "%s", delivery->s3_error);
}

static int write_early_account(void *context, struct sink *sink)
{
    return crash_json_write(context, false, sink);
}

static int write_account(void *context, struct sink *sink)
{
    return crash_json_write(context, true, sink);
}

void keep_early_account(struct delivery *delivery)
{
    char name[512];

    artifact_name(delivery->bundle, ARTIFACT_CRASH_JSON, name, sizeof(name));
    if (delivery->spool && spool_sink(delivery->spool, name, &delivery->early) == 0)
        (void)write_early_account(delivery->bundle, delivery->early);
}

void send_early_account(struct delivery *delivery)
{
    struct artifact ignored = {0};
    char name[512];

    artifact_name(delivery->bundle, ARTIFACT_CRASH_JSON, name, sizeof(name));
    if (delivery->s3)
        (void)straight_to_s3(delivery, name, write_early_account, delivery->bundle, &ignored);
}

int deliver_account(struct delivery *delivery)
{
    sink_close(take_ptr(delivery->early));
    return deliver(delivery, ARTIFACT_CRASH_JSON, write_account, delivery->bundle);
}

bool delivery_abandon(struct delivery *delivery)
{
    return delivery->spool && spool_abandon(delivery->spool, delivery->bundle->id);
}

void delivery_close(struct delivery *delivery)
{
    sink_close(delivery->early);
    if (delivery->spool) {
        spool_release(delivery->spool, delivery->bundle->id);
        spool_close(delivery->spool);
    }
    s3_close(delivery->s3);
}
