#pragma once

/* The steps from what was captured to the bundle, which a crash and a snapshot share. */

#include "bundle/link_names.h"
#include "ctl/captured.h"
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
    int exe_fd;
};

/* Begins with nothing; the record must outlive it. collection_free() is due. */
void collection_begin(struct collection *collection, struct crash_record *record);

/* Once @captured is open: finds the executable, and tells the stack, before anything that may be
 * slow. */
void collection_read(struct collection *collection);

/* Finds out where this is, and the places that the bundle can go to. Returns as delivery_open(). */
int collection_find_place(struct collection *collection);

/*
 * Makes the artifacts, lets the process go as soon as nothing more is needed of it, and sends all.
 * In order of worth: should the container die on the way, the most telling is out.
 *
 * Returns 0 if crash.json is whole in one place, else as deliver().
 */
int collection_make(struct collection *collection);

void collection_free(struct collection *collection);
