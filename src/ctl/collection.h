#pragma once

/* The steps from what was captured to the bundle, which a crash and a snapshot share. */

#include "bundle/link_names.h"
#include "ctl/captured.h"
#include "ctl/deadline.h"
#include "ctl/delivery.h"
#include "ctl/stacktrace.h"

/* The context of the steps. */
struct collection {
    struct crash_record *record;
    struct bundle bundle;
    struct captured captured;
    struct delivery delivery;
    struct stacktrace trace;
    struct link_names link_names;
    struct deadline *deadline;
    int exe_fd;
};

/* Begins with nothing; record and deadline (NULL: none) must outlive it. collection_free() is due.
 */
void collection_begin(struct collection *collection, struct crash_record *record,
                      struct deadline *deadline);

/* Opens what was captured of a crash; what an earlier collector had found, where its bundle was
 * taken over. Returns as captured_open(). */
int collection_open(struct collection *collection);

/* Once @captured is open: finds the executable, and begins to unwind, before anything that may be
 * slow: the log has the stack at once. It forks: so threads come later. */
void collection_read(struct collection *collection);

/* Finds out where this is, and the places that the bundle can go to. Returns as delivery_open(). */
int collection_find_place(struct collection *collection);

/*
 * Makes the artifacts, lets the process go as soon as nothing more is needed of it, and sends all
 * meanwhile. In order of worth: should the container die on the way, the most telling is out. Near
 * the deadline what is being made is cut, and the rest left out.
 *
 * Returns as delivery_end(), or -errno where there isn't even a crash.json.
 */
int collection_make(struct collection *collection);

/*
 * Whether a collector before this one left more than this one can find out: the whole bundle, or
 * one of a process that it has let go. Then it is to be ended and sent as any that was left
 * (sweep.h), once collection_complete_left() has added the files that are still to be had.
 */
bool collection_is_left(const struct collection *collection);

void collection_complete_left(struct collection *collection);

/*
 * Collects again what a collector that was killed for good had begun, where the kernel's core, of
 * which the journal tells, is still there.
 *
 * @spool     holds the bundle; it stays the caller's, and holds it still
 * @deadline  or NULL
 *
 * Returns as collection_make(), or -ENOENT where there is no such core (nothing was done).
 */
int collection_repeat(const struct crash_settings *settings, struct spool *spool, const char *id,
                      struct deadline *deadline);

void collection_free(struct collection *collection);
