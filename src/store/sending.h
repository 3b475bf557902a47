#pragma once

/*
 * One object on its way (uploader.h), as its two sides see it: the maker, and the uploader's
 * thread. All of it is under one lock, the uploader's.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/part_buffers.h"
#include "store/s3_body.h"
#include "store/uploader.h"

struct sending_lock {
    pthread_mutex_t mutex;
    pthread_cond_t changed;   /* of CLOCK_MONOTONIC */
    _Atomic int64_t limit_ns; /* uploader_limit(); 0: none */
    bool is_stopping;         /* nobody makes anything any more */
};

enum sending_source {
    SOURCE_GROWS,
    SOURCE_ENDED,
    SOURCE_ABANDONED,
};

struct sending {
    struct sending *next;
    struct sending_lock *lock;
    enum artifact_kind kind; /* or SENDING_EARLY */
    bool is_file;            /* nothing is made: the artifact is in the spool */
    char name[NAME_MAX + 1];

    enum sending_source source;
    int fd;           /* of the file that the first bytes are in, or -1 */
    uint64_t in_file; /* bytes */
    char sha256[65];  /* of all, once it has ended */

    unsigned first_in_memory; /* the part from which on all come through memory; 0: none do */
    struct part_buffers buffers;
    struct part_buffer *filling; /* the maker's */

    bool is_over;
    int error;
    char why[512];
};

/* One part, as it is there to be sent. */
struct sending_part {
    unsigned number;
    uint64_t offset;
    struct s3_body body;
    bool is_last;
};

/*
 * Waits until a part is there. It stays until sending_part_done().
 *
 * @ret  number and offset are given
 *
 * Returns 0, -ECANCELED (abandoned), -ETIMEDOUT (the limit) or -ESHUTDOWN (its maker is gone).
 */
int sending_part_wait(struct sending *sending, struct sending_part *ret);

/* Gives its memory back. */
void sending_part_done(struct sending *sending, const struct sending_part *part);

/* Tells how it ended; @why: "" where @error is 0. */
void sending_finish(struct sending *sending, int error, const char *why);

/* Frees what it holds, as its uploader ends. */
void sending_free(struct sending *sending);
