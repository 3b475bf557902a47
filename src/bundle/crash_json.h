#pragma once

/*
 * crash.json, the machine-readable account of a crash; its schema is crash.schema.json in this
 * folder. Every key is always there, null where nothing is known. Never environment values but the
 * names of container.h, never credentials.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include "bundle/container.h"
#include "bundle/name.h"
#include "bundle/sink.h"
#include "capture/core_info.h"
#include "capture/stack.h"
#include "init/crash_record.h"

#define CRASH_JSON_VERSION 1

/* How an artifact's error begins where all that is wrong with it is that it wasn't sent. */
#define ARTIFACT_NOT_SENT "not sent: "

/* What became of one artifact. */
struct artifact {
    bool made;     /* whole, somewhere */
    uint64_t size; /* bytes */
    char sha256[65];
    bool in_cores_dir;
    bool in_s3;
    int sink_error;  /* -errno of the last place that didn't take it */
    char error[512]; /* why it is missing or incomplete, "" where it isn't */
};

/* What is told of a process that goes on. */
struct snapshot_facts {
    int64_t began_ns;   /* CLOCK_MONOTONIC: when its threads were stopped */
    double pause_ms;    /* how long that lasted; negative: it still does */
    const char *method; /* "clone", "copy" or "held" */
    char why[256];      /* none that pauses it for less, "" for a clone */
};

/* The process is let go now, if it wasn't before. */
void snapshot_facts_end(struct snapshot_facts *facts);

/* Everything that is told about one crash; the context that travels through the steps. */
struct bundle {
    const struct crash_record *record;
    struct snapshot_facts *snapshot; /* NULL: a crash */
    char id[256];
    char hostname[256];
    struct container container; /* container_read() */

    const char *capture_source;   /* "kernel", "ptrace" or "none": where the core came from */
    char no_core[512];            /* why there is none, "" where there is one */
    bool knows_unreadable;        /* the core was read from the process */
    uint64_t unreadable;          /* bytes of it that couldn't be, and are zeros */
    bool is_cut;                  /* .core.zip has the first bytes of the core alone ... */
    uint64_t cut_at;              /* ... that many: there was no time for more */
    const struct core_info *info; /* of the core, else of the maps; NULL where neither */
    json_t *frames; /* top frames as stack_to_json() gives them, or NULL (owned by the bundle's
                       owner) */
    struct artifact artifacts[ARTIFACT_KINDS];
};

/* The first @max frames of a thread as a JSON array: a new reference, or NULL (out of memory). */
json_t *stack_to_json(const struct stack_thread *thread, size_t max);

/*
 * Writes crash.json to a sink (not committed).
 *
 * @complete  false for the early form, which is sent before the core is: "complete": false and no
 * fates yet
 *
 * Returns 0, -ENOMEM or -errno of the sink.
 */
int crash_json_write(const struct bundle *bundle, bool complete, struct sink *sink);
