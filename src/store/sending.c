#include "store/sending.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/s3_body.h"
#include "store/s3_parts.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"

/* Beyond the limit a request may go on for about a second (s3_set_deadline()). */
#define GRACE_NS 2000000000ll

static void lock(struct sending *sending)
{
    pthread_mutex_lock(&sending->lock->mutex);
}

static void unlock(struct sending *sending)
{
    pthread_mutex_unlock(&sending->lock->mutex);
}

static void tell(struct sending *sending)
{
    pthread_cond_broadcast(&sending->lock->changed);
}

/* Waits for any change, until the limit and @grace_ns. Returns 0, or -ETIMEDOUT. */
static int await(struct sending *sending, int64_t grace_ns)
{
    struct sending_lock *shared = sending->lock;
    const int64_t until = shared->limit_ns + grace_ns;
    const struct timespec when = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

    if (shared->limit_ns == 0)
        return -pthread_cond_wait(&shared->changed, &shared->mutex);
    return -pthread_cond_timedwait(&shared->changed, &shared->mutex, &when);
}

/* The maker's side. */

void sending_follow(struct sending *sending, int fd)
{
    lock(sending);
    sending->fd = fd;
    unlock(sending);
}

void sending_grew(struct sending *sending, uint64_t size)
{
    lock(sending);
    sending->in_file = size;
    tell(sending);
    unlock(sending);
}

/* What neither side needs any more. Under the lock. */
static void free_unused(struct sending *sending)
{
    if (!sending->is_over || sending->source == SOURCE_GROWS)
        return;
    part_buffers_free(&sending->buffers);
    close_fd(take_fd(&sending->fd)); /* the file may have no name any more, and still fill a disk */
}

/* Takes a buffer for a part, when there is one. Under the lock. */
static int take_buffer(struct sending *sending, unsigned number)
{
    int r = 0;

    while (!sending->is_over && r != -ETIMEDOUT) {
        r = part_buffers_take(&sending->buffers, number, &sending->filling);
        if (r != -EAGAIN)
            return r;
        r = await(sending, GRACE_NS);
    }
    return -ECANCELED;
}

/* The part in which the file ends is a part in memory: its beginning is read back. */
static int leave_file(struct sending *sending)
{
    uint64_t offset = 0, size;
    unsigned number = 1;
    ssize_t n;
    int r;

    while ((size = s3_stream_part_bytes(number)) > 0 && sending->in_file - offset >= size) {
        offset += size;
        number++;
    }
    lock(sending);
    r = take_buffer(sending, number);
    unlock(sending);
    if (r < 0)
        return r;
    sending->filling->used = (size_t)(sending->in_file - offset);
    n = sending->filling->used > 0
            ? pread_full(sending->fd, sending->filling->data, sending->filling->used, offset)
            : 0;
    if (n != (ssize_t)sending->filling->used)
        return n < 0 ? (int)n : -ENODATA;
    lock(sending);
    sending->first_in_memory = number;
    tell(sending);
    unlock(sending);
    return 0;
}

/* Hands a full part over, and takes a buffer for the next. */
static int next_buffer(struct sending *sending)
{
    const unsigned number = sending->filling->number;
    int r;

    lock(sending);
    sending->filling->is_ready = true;
    sending->filling = NULL;
    tell(sending);
    r = take_buffer(sending, number + 1);
    unlock(sending);
    return r;
}

int sending_push(struct sending *sending, const void *data, size_t size)
{
    const char *next = data;
    int r = 0;

    if (size > 0 && sending->first_in_memory == 0) /* only this side writes it */
        r = leave_file(sending);
    while (r == 0 && size > 0) {
        struct part_buffer *buffer = sending->filling;
        const size_t room = buffer->size - buffer->used, n = size < room ? size : room;

        memcpy(buffer->data + buffer->used, next, n);
        buffer->used += n;
        next += n;
        size -= n;
        if (size > 0)
            r = next_buffer(sending);
    }
    return r;
}

static void end(struct sending *sending, enum sending_source how, const char *sha256)
{
    lock(sending);
    if (sending->filling)
        sending->filling->is_ready = true;
    sending->filling = NULL;
    snprintf(sending->sha256, sizeof(sending->sha256), "%s", sha256);
    sending->source = how;
    free_unused(sending);
    tell(sending);
    unlock(sending);
}

void sending_end(struct sending *sending, const char *sha256)
{
    end(sending, SOURCE_ENDED, sha256);
}

void sending_abandon(struct sending *sending)
{
    end(sending, SOURCE_ABANDONED, "");
}

int sending_wait(struct sending *sending, char *ret_why, size_t size)
{
    int r = 0;

    lock(sending);
    while (!sending->is_over && r != -ETIMEDOUT)
        r = await(sending, GRACE_NS);
    r = sending->is_over ? sending->error : -ETIMEDOUT;
    snprintf(ret_why, size, "%s", sending->is_over ? sending->why : "there was no time left");
    unlock(sending);
    return r;
}

int sending_look(struct sending *sending, char *ret_why, size_t size)
{
    int r;

    lock(sending);
    r = sending->is_over ? sending->error : -EINPROGRESS;
    snprintf(ret_why, size, "%s", sending->why);
    unlock(sending);
    return r;
}

/* The thread's side. */

/* What is known of a part's bytes. Under the lock. Returns whether it is there. */
static bool look(struct sending *sending, struct sending_part *part)
{
    const uint64_t size = s3_stream_part_bytes(part->number);
    const bool has_ended = sending->source == SOURCE_ENDED;

    if (sending->first_in_memory == 0 || part->number < sending->first_in_memory) {
        const uint64_t left = sending->in_file - part->offset;
        const bool has_more = left > size || (sending->first_in_memory > 0 && left >= size);

        part->is_last = has_ended && !has_more;
        part->body = (struct s3_body){
            .fd = sending->fd, .offset = part->offset, .size = has_more ? size : left};
        return has_more || has_ended;
    }

    const struct part_buffer *buffer = part_buffers_ready(&sending->buffers, part->number);

    if (!buffer)
        return false;
    part->is_last = has_ended && !part_buffers_ready(&sending->buffers, part->number + 1);
    part->body = (struct s3_body){.data = buffer->data, .fd = -1, .size = buffer->used};
    return true;
}

int sending_part_wait(struct sending *sending, struct sending_part *ret)
{
    int r = 0;

    lock(sending);
    for (;;) {
        if (sending->source == SOURCE_ABANDONED)
            r = -ECANCELED;
        else if (sending->lock->limit_ns && monotonic_ns() >= sending->lock->limit_ns)
            r = -ETIMEDOUT;
        else if (sending->source == SOURCE_GROWS && sending->lock->is_stopping)
            r = -ESHUTDOWN;
        if (r < 0 || look(sending, ret))
            break;
        (void)await(sending, 0);
    }
    unlock(sending);
    return r;
}

void sending_part_done(struct sending *sending, const struct sending_part *part)
{
    lock(sending);
    part_buffers_give_back(&sending->buffers, part->number);
    tell(sending);
    unlock(sending);
}

void sending_finish(struct sending *sending, int error, const char *why)
{
    lock(sending);
    sending->is_over = true;
    sending->error = error;
    snprintf(sending->why, sizeof(sending->why), "%s", why);
    free_unused(sending);
    tell(sending);
    unlock(sending);
}

void sending_free(struct sending *sending)
{
    close_fd(sending->fd);
    part_buffers_free(&sending->buffers);
    free(sending);
}
