#include "ctl/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/collection.h"
#include "ctl/left_bundle.h"
#include "ctl/s3_settings.h"
#include "store/send_file.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

/*
 * In the watching thread. Whatever runs can be cut short at any moment: journal and spool are made
 * for SIGKILL. Only a request has more to lose, since what is on its way is sent again.
 */
static void interrupt(void *context, int signo)
{
    struct sweep *sweep = context;

    pthread_mutex_lock(&sweep->lock);
    sweep->is_interrupted = true;
    if (!sweep->is_sending) {
        log_notice("ended by SIG%s: what isn't sent is left for the next try", sigabbrev_np(signo));
        _exit(EX_TEMPFAIL);
    }
    s3_set_deadline(sweep->s3, monotonic_ns());
    pthread_mutex_unlock(&sweep->lock);
}

/* Returns whether requests may be made now. */
static bool set_sending(struct sweep *sweep, bool is_sending)
{
    bool is_allowed;

    pthread_mutex_lock(&sweep->lock);
    is_allowed = !sweep->is_interrupted;
    sweep->is_sending = is_sending && is_allowed;
    pthread_mutex_unlock(&sweep->lock);
    return is_allowed;
}

static int64_t in_ns(const struct timespec *time)
{
    return time->tv_sec * 1000000000ll + time->tv_nsec;
}

/* When this process was started, which was a while ago where the machine is busy: of
 * CLOCK_REALTIME, nanoseconds. */
static int64_t started_ns(void)
{
    const long ticks = sysconf(_SC_CLK_TCK); /* a second */
    struct timespec realtime, boottime;
    const char *start = NULL;
    char text[1024];

    clock_gettime(CLOCK_REALTIME, &realtime);
    clock_gettime(CLOCK_BOOTTIME, &boottime);
    if (read_text_at(AT_FDCWD, "/proc/self/stat", text, sizeof(text)) > 0)
        start = proc_stat_field(text, PROC_STAT_STARTTIME);
    return start
               ? in_ns(&realtime) - in_ns(&boottime) + strtoll(start, NULL, 10) * 1000000000 / ticks
               : in_ns(&realtime);
}

int sweep_begin(struct sweep *sweep, const struct crash_settings *settings,
                const struct progress *progress)
{
    int r;

    *sweep = (struct sweep){
        .settings = settings,
        .progress = *progress,
        .began_ns = started_ns(),
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    r = interruption_start(interrupt, sweep, &sweep->interruption);
    return r < 0 ? log_errno(r, "cannot watch for signals") : 0;
}

int sweep_open(struct sweep *sweep, const char *directory)
{
    const struct crash_settings *settings = sweep->settings;
    int r;

    spool_close(take_ptr(sweep->spool));
    snprintf(sweep->directory, sizeof(sweep->directory), "%s", directory);
    r = spool_open(directory, &sweep->spool);
    if (r == 0)
        r = spool_set_destination(sweep->spool, settings->bucket, settings->key_prefix);
    return r < 0 ? log_errno(r, "cannot look for bundles in %s", directory) : 0;
}

static void see_progress(void *context, uint64_t bytes)
{
    progress_add(context, bytes);
}

/* Not before there is something to send; and anew for each bundle, since its objects' metadata
 * carry its id. */
static int connect_s3(struct sweep *sweep, const char *id)
{
    struct s3_settings settings;
    int r;

    s3_close(take_ptr(sweep->s3));
    s3_settings_of(sweep->settings, id, &settings);
    r = s3_open(&settings, &sweep->s3);
    if (r < 0)
        sweep->s3 = NULL;
    else
        s3_on_progress(sweep->s3, see_progress, &sweep->progress);
    return r;
}

/* Errors of one object; all others are the bucket's or the way's, and the next object's too. */
static bool is_of_one_object(int error)
{
    return error == -EFBIG || error == -ENAMETOOLONG || error == -ENODATA || error == -EBADMSG;
}

/* What a bundle came to. A failure of the bucket ends all sending. */
static int give_up(struct sweep *sweep, int error)
{
    if (!is_of_one_object(error))
        sweep->is_over = true;
    sweep->n_left++;
    return error;
}

static uint64_t size_of(struct spool *spool, const char *name)
{
    _cleanup_close_ int fd = -1;
    uint64_t size = 0;

    fd = spool_read(spool, name, &size);
    return fd < 0 ? 0 : size;
}

static int send_one(struct sweep *sweep, const char *id, enum artifact_kind kind,
                    struct sent_file *ret)
{
    char name[NAME_MAX + 32];
    int r;

    snprintf(name, sizeof(name), "%s%s", id, artifact_suffixes[kind]);
    progress_begin(&sweep->progress, name, size_of(sweep->spool, name));
    r = send_file(sweep->s3, sweep->spool, id, kind, ret);
    progress_end(&sweep->progress);
    if (r == 0 && !ret->was_sent)
        log_info("%s is in %s now: %llu bytes", name, s3_destination(sweep->s3),
                 (unsigned long long)ret->size);
    else if (r == -ENOENT && ret->is_unreadable)
        send_file_abandon(sweep->s3, sweep->spool, id, kind);
    return r;
}

/*
 * Sends the artifacts but for crash.json, and tells in it what became of them.
 *
 * @ret_unreadable  an artifact that is there could not be read
 *
 * Returns 0 or -errno of S3.
 */
static int send_artifacts(struct sweep *sweep, struct left_bundle *bundle, unsigned kinds,
                          bool *ret_unreadable)
{
    struct sent_file file;
    int r;

    *ret_unreadable = false;
    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++) {
        if (!(kinds & 1u << kind))
            continue;
        r = send_one(sweep, bundle->id, (enum artifact_kind)kind, &file);
        if (r < 0 && !file.is_unreadable)
            return r;
        *ret_unreadable |= r < 0 && r != -ENOENT;
        left_bundle_tell(bundle, (enum artifact_kind)kind, r, &file,
                         !sweep->removes_sent || !spool_is_verified(sweep->spool));
    }
    return 0;
}

/* crash.json as things are now. One that can't be brought up to date is sent as it is. */
static int send_account(struct sweep *sweep, struct left_bundle *bundle, bool *ret_unreadable)
{
    struct sent_file file;
    int r = left_bundle_commit(bundle);

    if (r < 0)
        log_warning("the crash.json of %s can't be brought up to date in %s: %s", bundle->id,
                    sweep->directory, strerrordesc_np(-r));
    r = send_one(sweep, bundle->id, ARTIFACT_CRASH_JSON, &file);
    if (r < 0 && !file.is_unreadable)
        return r;
    *ret_unreadable |= r < 0 && r != -ENOENT;
    return 0;
}

/* Whether all that the bundle has is in the bucket. */
static bool is_all_sent(struct sweep *sweep, const char *id)
{
    char name[NAME_MAX + 32];
    struct journal_notes notes;
    uint64_t size;

    spool_noted(sweep->spool, &notes);
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        _cleanup_close_ int fd = -1;

        snprintf(name, sizeof(name), "%s%s", id, artifact_suffixes[kind]);
        fd = spool_read(sweep->spool, name, &size);
        if (fd != -ENOENT && !notes.artifacts[kind].is_sent)
            return false;
    }
    return true;
}

static void settle_sent(struct sweep *sweep, const char *id)
{
    int r = spool_note_sent_all(sweep->spool);

    if (r < 0)
        log_info("it can't be noted that %s was sent: %s", id, strerrordesc_np(-r));
    if (sweep->removes_sent && !spool_is_verified(sweep->spool)) {
        log_warning("%s stays in %s all the same: the bucket tells nothing that it could be "
                    "compared with",
                    id, sweep->directory);
    } else if (sweep->removes_sent) {
        r = spool_remove(sweep->spool, id);
        if (r < 0)
            log_warning("%s was sent, but can't be removed from %s: %s", id, sweep->directory,
                        strerrordesc_np(-r));
    }
}

static int send_bundle(struct sweep *sweep, struct left_bundle *bundle, unsigned kinds)
{
    bool is_unreadable = false;
    int r = connect_s3(sweep, bundle->id);

    if (r < 0 || !set_sending(sweep, true)) {
        sweep->n_left++;
        sweep->is_over = true;
        return r < 0 ? r : -EINTR;
    }
    r = send_artifacts(sweep, bundle, kinds, &is_unreadable);
    if (r == 0)
        r = send_account(sweep, bundle, &is_unreadable);
    if (!set_sending(sweep, false))
        sweep->is_over = true;
    if (r < 0)
        return give_up(sweep, r);
    if (is_unreadable) {
        sweep->n_failed++;
        return -EIO;
    }
    log_notice("bundle %s is in %s%s", bundle->id, s3_destination(sweep->s3),
               kinds == ALL_KINDS ? "" : " as far as was asked for");
    if (is_all_sent(sweep, bundle->id))
        settle_sent(sweep, bundle->id);
    return 0;
}

/* A bundle whose collector was killed for good. Returns whether it is sent as well. */
static bool end_bundle(struct sweep *sweep, struct left_bundle *bundle, int *ret)
{
    int r = collection_repeat(sweep->settings, sweep->spool, bundle->id, NULL);

    if (r != -ENOENT) {
        *ret = r;
        if (r == 0 && sweep->settings->bucket[0])
            settle_sent(sweep, bundle->id);
        sweep->n_left += r == -EAGAIN;
        sweep->n_failed += r < 0 && r != -EAGAIN;
        return true;
    }
    r = left_bundle_complete(bundle);
    if (r == 0)
        log_notice("bundle %s was not ended by its collector: it has what is whole", bundle->id);
    else
        log_warning("bundle %s was not ended by its collector, and can't be: %s", bundle->id,
                    strerrordesc_np(-r));
    return false;
}

static int work_on(struct sweep *sweep, const char *id, unsigned kinds)
{
    _cleanup_(left_bundle_free) struct left_bundle bundle = {0};
    struct journal_notes notes;
    int r = 0;

    spool_noted(sweep->spool, &notes);
    if (notes.is_sent) {
        log_notice("bundle %s was sent before", id);
        if (sweep->removes_sent)
            settle_sent(sweep, id);
        return 0;
    }
    left_bundle_read(sweep->spool, id, &bundle);
    if (!bundle.is_complete && end_bundle(sweep, &bundle, &r))
        return r;
    if (!sweep->settings->bucket[0]) {
        sweep->n_failed += !bundle.is_complete;
        return bundle.is_complete ? 0 : -ENODATA;
    }
    return send_bundle(sweep, &bundle, kinds);
}

/* Why a bundle can't be adopted. */
static const char *why_not(int error)
{
    switch (error) {
    case -ENOENT:
        return "it isn't there";
    case -EBUSY:
        return "somebody works on it";
    case -EPERM:
        return "it goes to another destination, or its files are another user's";
    default:
        return strerrordesc_np(-error);
    }
}

/* Whether others may be the reason, who are in their right. */
static bool is_usual(int error)
{
    return error == -ENOENT || error == -EBUSY || error == -EPERM;
}

/* @is_asked_for  by name, so that it should have been possible; else somebody may have taken it, or
 * removed it, since it was listed */
static int take_bundle(struct sweep *sweep, const char *id, unsigned kinds, bool is_asked_for)
{
    int r = sweep->is_over ? -ECANCELED : spool_adopt(sweep->spool, id);

    if (r == -ECANCELED) {
        sweep->n_left++;
    } else if (r == 0) {
        r = work_on(sweep, id, kinds);
        spool_release(sweep->spool, id);
    } else if (is_asked_for || !is_usual(r)) {
        sweep->n_failed++;
        log_error("bundle %s in %s can't be sent: %s", id, sweep->directory, why_not(r));
    } else {
        log_info("bundle %s is left alone: %s", id, why_not(r));
    }
    return r;
}

int sweep_bundle(struct sweep *sweep, const char *id, unsigned kinds)
{
    return take_bundle(sweep, id, kinds, true);
}

static void sweep_listed(struct sweep *sweep, const struct spool_bundle *bundle)
{
    if (!bundle->is_complete && bundle->crash.pid > 0 &&
        in_ns(&bundle->crash.realtime) > sweep->began_ns) {
        /* Should that collector be killed, the process may still be held for the next attempt. */
        log_debug("bundle %s is left alone: its crash is being collected", bundle->id);
        return;
    }
    if (bundle->error < 0 && bundle->error != -ENOENT) {
        sweep->n_failed++;
        log_warning("bundle %s is left alone: its journal can't be used: %s", bundle->id,
                    strerrordesc_np(-bundle->error));
    } else if (!bundle->is_ours) {
        log_info("bundle %s is left alone: it goes to another destination", bundle->id);
    } else if (bundle->is_sent && !(sweep->removes_sent && bundle->is_verified)) {
        log_debug("bundle %s was sent before", bundle->id);
    } else {
        (void)take_bundle(sweep, bundle->id, ALL_KINDS, false);
    }
}

void sweep_all(struct sweep *sweep)
{
    const struct crash_settings *settings = sweep->settings;
    const struct spool_policy policy = {.max_use = settings->max_use,
                                        .keep_free = settings->keep_free,
                                        .max_files = settings->max_files};
    struct spool_list list;
    int r = spool_list(sweep->spool, &list);

    if (r < 0) {
        log_errno(r, "cannot read %s", sweep->directory);
        sweep->n_failed++;
        return;
    }
    if (list.is_cut)
        log_warning("there is too much in %s to look at all of it", sweep->directory);
    sweep->removes_sent = settings->keep_local != KEEP_ALWAYS;
    /* A core may be what killed its collector, and kill this: all else goes first. */
    for (int is_complete = 1; is_complete >= 0; is_complete--)
        for (size_t i = 0; i < list.n; i++)
            if (list.bundles[i].is_complete == (is_complete == 1))
                sweep_listed(sweep, &list.bundles[i]);
    spool_list_free(&list);
    (void)spool_make_room(sweep->spool, &policy, 0);
}

int sweep_end(struct sweep *sweep)
{
    interruption_stop(sweep->interruption);
    if (sweep->n_left > 0)
        log_error("%u bundle%s in %s for the next try%s", sweep->n_left,
                  sweep->n_left > 1 ? "s stay" : " stays", sweep->directory,
                  sweep->is_interrupted ? ": corectl was asked to end" : "");
    spool_close(sweep->spool);
    s3_close(sweep->s3);
    return sweep->n_left > 0 ? EX_TEMPFAIL : sweep->n_failed > 0;
}
