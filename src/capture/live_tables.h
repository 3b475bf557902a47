#pragma once

/* What a live_process keeps for its own files. */

#include "capture/live_layout.h"
#include "capture/live_mappings.h"
#include "capture/live_memory.h"
#include "capture/live_process.h"
#include "capture/process_copy.h"

struct live_tables {
    const struct crash_record *record;
    const struct process_copy *copy; /* or NULL */
    struct live_mappings mappings;
    struct live_layout layout; /* of the whole core; of size 0 until it is made */
    int notes_fd;              /* memfd with the notes */
    uint64_t notes_size;

    /* The record's, or opened here where it has none. */
    int pagemap_fd;
    int owned_mem_fd, owned_pagemap_fd; /* -1 where they are the record's */
    bool has_no_scan;                   /* struct live_pages */
};

/*
 * Makes the layout, if it isn't there yet: reads smaps, and looks for what was never touched.
 *
 * Returns 0, -ESRCH (the process died meanwhile), -ENOMEM or -errno.
 */
int live_tables_lay_out(struct live_process *process);

/* How the process's memory, or its copy's, is read; what can't be is counted. */
struct live_memory live_memory_of(struct live_process *process, bool is_copied);

/* For looking at its pages. */
struct live_pages live_pages_of(const struct live_tables *tables);

/*
 * Opens a stream over a layout, which must outlive it: headers, notes, memory.
 * Returns 0 or -ENOMEM.
 */
int live_source_open(struct live_process *process, const struct live_layout *layout,
                     struct core_source **ret);
