/* Where a bundle can go to: an id in the spool, and a way to S3. */

#include "ctl/delivery.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ctl/privileges.h"
#include "ctl/s3_settings.h"
#include "util/cleanup.h"
#include "util/log.h"

/* More crashes than this of one task in one second are no use to anyone. */
#define MAX_ORDINAL 1000

/* What a bundle takes at the very least, where there isn't even room to begin one. */
#define SMALL_BUNDLE_BYTES ((uint64_t)1 << 20)

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

static struct journal_crash crash_of(const struct crash_record *record)
{
    return (struct journal_crash){record->pid, record->ended_realtime, record->ended_boottime};
}

/* Takes over what the attempt before began, where there was one. */
static bool adopt(struct delivery *delivery)
{
    const struct crash_record *record = delivery->bundle->record;
    const struct journal_crash crash = crash_of(record);
    char id[NAME_MAX + 1];
    int r;

    if (record->attempt < 2)
        return false;
    r = spool_adopt_crash(delivery->spool, &crash, id);
    if (r < 0 && r != -ENOENT)
        log_warning("what the collector before left of this crash cannot be taken over: %s",
                    strerrordesc_np(-r));
    if (r < 0)
        return false;
    snprintf(delivery->bundle->id, sizeof(delivery->bundle->id), "%s", id);
    log_info("goes on with %s, which the collector before left", id);
    return true;
}

/* A spool that can't be used is one warning; the bundle then goes to S3 alone. */
static void give_up_spool(struct delivery *delivery, int error)
{
    log_warning("cannot keep the bundle in %s: %s", delivery_settings(delivery)->cores_dir,
                strerrordesc_np(-error));
    spool_close(take_ptr(delivery->spool));
}

static void open_spool(struct delivery *delivery)
{
    const struct crash_settings *settings = delivery_settings(delivery);
    const struct journal_crash crash = crash_of(delivery->bundle->record);
    int r;

    if (!settings->cores_dir[0])
        return;
    r = spool_open(settings->cores_dir, &delivery->spool);
    if (r < 0) {
        delivery->spool = NULL;
        give_up_spool(delivery, r);
        return;
    }
    r = spool_set_destination(delivery->spool, settings->bucket, settings->key_prefix);
    if (r < 0) {
        give_up_spool(delivery, r);
        return;
    }
    if (!delivery->bundle->snapshot)
        spool_set_crash(delivery->spool, &crash);
}

static void begin(struct delivery *delivery, struct bundle *bundle, struct deadline *deadline)
{
    const struct crash_settings *settings = &bundle->record->settings;

    *delivery = (struct delivery){
        .bundle = bundle,
        .deadline = deadline,
        .policy = {settings->max_use, settings->keep_free, settings->max_files},
    };
}

static int no_place(const struct delivery *delivery)
{
    const char *cores_dir = delivery_settings(delivery)->cores_dir;

    return log_errno(ENOENT,
                     "there is no place for a bundle: mount a writable volume at %s, or set "
                     "S3_BUCKET",
                     cores_dir[0] ? cores_dir : "/cores, set --cores-dir");
}

int delivery_open(struct delivery *delivery, struct bundle *bundle, struct deadline *deadline)
{
    int r = 0;

    begin(delivery, bundle, deadline);
    open_spool(delivery);
    if (delivery->spool)
        delivery->is_adopted = adopt(delivery);
    if (delivery->spool && !delivery->is_adopted) {
        (void)spool_make_room(delivery->spool, &delivery->policy, 0);
        r = take_id(delivery);
        if (r == -ENOSPC &&
            spool_make_room(delivery->spool, &delivery->policy, SMALL_BUNDLE_BYTES) == 0)
            r = take_id(delivery);
        if (r < 0)
            give_up_spool(delivery, r);
    }
    if (!delivery->spool)
        r = take_id(delivery);
    if (r < 0)
        return r;
    return delivery->spool || delivery_settings(delivery)->bucket[0] ? 0 : no_place(delivery);
}

void delivery_open_held(struct delivery *delivery, struct bundle *bundle, struct spool *spool,
                        struct deadline *deadline)
{
    begin(delivery, bundle, deadline);
    delivery->spool = spool;
    delivery->is_spool_lent = delivery->is_adopted = true;
}

static void limit(void *context, int64_t at_ns)
{
    uploader_limit(context, at_ns);
}

static void start_uploader(struct delivery *delivery)
{
    struct uploader_settings uploader = {
        .bundle_id = delivery->bundle->id,
        .spool = delivery->spool,
        .prepare = privileges_keep_for_sending,
        .is_frugal = delivery->bundle->record->attempt > 1,
    };
    int r;

    s3_settings_of(delivery_settings(delivery), delivery->bundle->id, &uploader.s3);
    r = uploader_start(&uploader, &delivery->uploader);
    if (r < 0) {
        delivery->uploader = NULL;
        log_errno(r, "nothing can be sent: no thread");
        return;
    }
    deadline_on_move(delivery->deadline, limit, delivery->uploader);
}

int delivery_connect(struct delivery *delivery)
{
    if (delivery_settings(delivery)->bucket[0])
        start_uploader(delivery);
    if (delivery->spool)
        return 0;
    if (delivery->uploader && uploader_wait_open(delivery->uploader) == 0)
        return 0;
    return no_place(delivery);
}

void delivery_disconnect(struct delivery *delivery)
{
    deadline_on_move(delivery->deadline, NULL, NULL);
    uploader_stop(take_ptr(delivery->uploader));
    memset(delivery->sendings, 0, sizeof(delivery->sendings));
}
