#include "store/uploader.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/send_file.h"
#include "store/send_stream.h"
#include "store/sending.h"

struct uploader {
    struct uploader_settings settings;
    pthread_t thread;
    struct sending_lock lock;

    /* Under the lock. */
    struct s3 *s3; /* once it is open */
    bool is_open;  /* or won't be: @error */
    int error;     /* of what ended all sending */
    char why[512];
    struct sending *first, **end; /* all that was begun */
};

/* Errors that say nothing of the next object. */
static bool is_of_one_object(int error)
{
    static const int errors[] = {ECANCELED, ESHUTDOWN, EBADMSG, EFBIG, ENODATA, ENAMETOOLONG};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (error == -errors[i])
            return true;
    return false;
}

static void finish(struct uploader *uploader, struct sending *sending, int error, const char *why)
{
    pthread_mutex_lock(&uploader->lock.mutex);
    if (error < 0 && !is_of_one_object(error)) {
        uploader->error = error;
        snprintf(uploader->why, sizeof(uploader->why), "the upload of %.200s failed: %.250s",
                 sending->name, why);
    }
    pthread_mutex_unlock(&uploader->lock.mutex);
    sending_finish(sending, error, why);
}

static void send_one(struct uploader *uploader, struct sending *sending)
{
    const struct uploader_settings *settings = &uploader->settings;
    struct sent_file sent = {0};
    char why[sizeof(sending->why)] = "";
    int r;

    if (uploader->error) { /* only this thread sets it */
        snprintf(why, sizeof(why), "%.480s", uploader->why);
        sending_finish(sending, -ECANCELED, why);
    } else if (sending->is_file) {
        r = send_file(uploader->s3, settings->spool, settings->bundle_id, sending->kind, &sent);
        finish(uploader, sending, r, sent.why);
    } else {
        r = send_stream(uploader->s3, settings->spool, sending, why, sizeof(why));
        finish(uploader, sending, r, why);
    }
}

static void open_s3(struct uploader *uploader)
{
    struct s3 *s3 = NULL;
    int r = s3_open(&uploader->settings.s3, &s3);

    pthread_mutex_lock(&uploader->lock.mutex);
    uploader->is_open = true;
    uploader->error = r;
    if (r < 0)
        snprintf(uploader->why, sizeof(uploader->why), "%s",
                 r == -ENOKEY ? "no credentials were found" : strerrordesc_np(-r));
    else
        uploader->s3 = s3;
    if (r == 0 && uploader->lock.limit_ns)
        s3_set_deadline(s3, uploader->lock.limit_ns);
    pthread_cond_broadcast(&uploader->lock.changed);
    pthread_mutex_unlock(&uploader->lock.mutex);
}

/* The next in line; NULL: there is none, and won't be. */
static struct sending *await_next(struct uploader *uploader, struct sending **at)
{
    struct sending *next;

    pthread_mutex_lock(&uploader->lock.mutex);
    while (!*at && !uploader->lock.is_stopping)
        pthread_cond_wait(&uploader->lock.changed, &uploader->lock.mutex);
    next = *at;
    pthread_mutex_unlock(&uploader->lock.mutex);
    return next;
}

static void *run(void *context)
{
    struct uploader *uploader = context;
    struct sending **at = &uploader->first, *sending;

    if (uploader->settings.prepare)
        uploader->settings.prepare();
    open_s3(uploader);
    while ((sending = await_next(uploader, at))) {
        send_one(uploader, sending);
        at = &sending->next;
    }
    return NULL;
}

static int start_thread(struct uploader *uploader)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&uploader->thread, NULL, run, uploader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

static void release(struct uploader *uploader)
{
    pthread_cond_destroy(&uploader->lock.changed);
    pthread_mutex_destroy(&uploader->lock.mutex);
    free(uploader);
}

int uploader_start(const struct uploader_settings *settings, struct uploader **ret)
{
    struct uploader *uploader = calloc(1, sizeof(*uploader));
    pthread_condattr_t monotonic;
    int r;

    if (!uploader)
        return -ENOMEM;
    uploader->settings = *settings;
    uploader->settings.s3.deadline_ns = &uploader->lock.limit_ns;
    uploader->end = &uploader->first;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&uploader->lock.mutex, NULL);
    pthread_cond_init(&uploader->lock.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r = start_thread(uploader);
    if (r < 0)
        release(uploader);
    else
        *ret = uploader;
    return r;
}

int uploader_wait_open(struct uploader *uploader)
{
    int r;

    pthread_mutex_lock(&uploader->lock.mutex);
    while (!uploader->is_open)
        pthread_cond_wait(&uploader->lock.changed, &uploader->lock.mutex);
    r = uploader->s3 ? 0 : uploader->error;
    pthread_mutex_unlock(&uploader->lock.mutex);
    return r;
}

void uploader_limit(struct uploader *uploader, int64_t deadline_ns)
{
    pthread_mutex_lock(&uploader->lock.mutex);
    uploader->lock.limit_ns = deadline_ns;
    if (uploader->s3)
        s3_set_deadline(uploader->s3, deadline_ns);
    pthread_cond_broadcast(&uploader->lock.changed);
    pthread_mutex_unlock(&uploader->lock.mutex);
}

static int begin(struct uploader *uploader, enum artifact_kind kind, bool is_file,
                 struct sending **ret)
{
    struct sending *sending = calloc(1, sizeof(*sending));
    const enum artifact_kind suffix = kind == SENDING_EARLY ? ARTIFACT_CRASH_JSON : kind;

    if (!sending)
        return -ENOMEM;
    sending->lock = &uploader->lock;
    sending->kind = kind;
    sending->is_file = is_file;
    sending->source = is_file ? SOURCE_ENDED : SOURCE_GROWS;
    sending->fd = -1;
    sending->buffers.is_frugal = uploader->settings.is_frugal;
    snprintf(sending->name, sizeof(sending->name), "%s%s", uploader->settings.bundle_id,
             artifact_suffixes[suffix]);
    pthread_mutex_lock(&uploader->lock.mutex);
    *uploader->end = sending;
    uploader->end = &sending->next;
    pthread_cond_broadcast(&uploader->lock.changed);
    pthread_mutex_unlock(&uploader->lock.mutex);
    *ret = sending;
    return 0;
}

int uploader_begin(struct uploader *uploader, enum artifact_kind kind, struct sending **ret)
{
    return begin(uploader, kind, false, ret);
}

int uploader_send_file(struct uploader *uploader, enum artifact_kind kind, struct sending **ret)
{
    return begin(uploader, kind, true, ret);
}

bool uploader_has_failed(struct uploader *uploader)
{
    bool has_failed;

    pthread_mutex_lock(&uploader->lock.mutex);
    has_failed = uploader->error != 0;
    pthread_mutex_unlock(&uploader->lock.mutex);
    return has_failed;
}

const char *uploader_destination(struct uploader *uploader)
{
    const char *destination;

    pthread_mutex_lock(&uploader->lock.mutex);
    destination = uploader->s3 ? s3_destination(uploader->s3) : "";
    pthread_mutex_unlock(&uploader->lock.mutex);
    return destination;
}

void uploader_stop(struct uploader *uploader)
{
    struct sending *next;

    if (!uploader)
        return;
    pthread_mutex_lock(&uploader->lock.mutex);
    uploader->lock.is_stopping = true;
    pthread_cond_broadcast(&uploader->lock.changed);
    pthread_mutex_unlock(&uploader->lock.mutex);
    pthread_join(uploader->thread, NULL);
    for (struct sending *at = uploader->first; at; at = next) {
        next = at->next;
        sending_free(at);
    }
    s3_close(uploader->s3);
    release(uploader);
}
