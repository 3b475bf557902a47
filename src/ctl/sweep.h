#pragma once

/*
 * Sending what lies in a spool: what a collector that was killed, or had no network, left there.
 * One bundle at a time; each is adopted (spool.h), so that nobody else works on it meanwhile.
 */

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bundle/name.h"
#include "ctl/interruption.h"
#include "ctl/progress.h"
#include "init/crash_record.h"
#include "store/s3.h"
#include "store/spool.h"

#define ALL_KINDS ((1u << ARTIFACT_KINDS) - 1)

struct sweep {
    const struct crash_settings *settings; /* the caller's */
    struct spool *spool;
    char directory[PATH_MAX]; /* its */
    struct s3 *s3;            /* for one bundle; NULL until there is something to send */
    struct progress progress;
    bool removes_sent; /* as keep_local says */
    int64_t began_ns;  /* CLOCK_REALTIME: when this process was started */
    unsigned n_left;   /* bundles that the next try may send */
    unsigned n_failed; /* bundles, and what was taken for one, that it won't */
    bool is_over;      /* the bucket takes nothing, or this is to end: nothing more is sent */

    struct interruption *interruption;
    pthread_mutex_t lock; /* of what the interrupting thread sees too */
    bool is_interrupted;
    bool is_sending; /* S3 requests run, which can be cut short; else all can be: exit */
};

/*
 * Begins. sweep_end() is due in any case.
 *
 * @progress  how much is told of it: progress_init(), or zeroed
 *
 * Returns 0 or -errno of starting a thread, logged.
 */
int sweep_begin(struct sweep *sweep, const struct crash_settings *settings,
                const struct progress *progress);

/*
 * Opens the directory that the bundles are in, and closes the one before.
 *
 * Returns 0, or as spool_open(), logged.
 */
int sweep_open(struct sweep *sweep, const char *directory);

/*
 * Sends one bundle, or some of its artifacts and its crash.json, as far as it wasn't sent. A bundle
 * that was not ended is collected again where the kernel's core is still there, else ended with
 * what there is; without a bucket that is all.
 *
 * @kinds  bits of enum artifact_kind; ALL_KINDS
 *
 * Returns 0 or -errno, logged; sweep_end() counts it.
 */
int sweep_bundle(struct sweep *sweep, const char *id, unsigned kinds);

/* Sends all bundles of the directory that are this coreinit's, the oldest first and those that need
 * to be collected again last; then enforces keep_local and the spool's limits. */
void sweep_all(struct sweep *sweep);

/* Says what is left. Returns corectl's exit status: 0, EX_TEMPFAIL (75) or 1. */
int sweep_end(struct sweep *sweep);
