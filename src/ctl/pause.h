#pragma once

/*
 * The moment in which a process stands still for its snapshot, as short as it can be: a
 * copy-on-write clone, else a copy of its memory, else for as long as the core is read.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bundle/crash_json.h"
#include "capture/process_clone.h"
#include "capture/process_copy.h"
#include "ctl/target.h"
#include "init/crash_record.h"

struct pause {
    const struct target *target;
    struct snapshot_facts facts;
    struct process_clone clone;
    struct process_copy copy; /* of all, or of what the clone lacks */
    bool is_traced;           /* threads of it are, stopped or about to */

    int mem_fd, smaps_fd, pagemap_fd; /* the process's own */
    int root_fd;                      /* the record's */
};

/* Makes it fit to be freed. */
void pause_init(struct pause *pause);

/*
 * Stops the process, and lets it go as soon as the method allows. Where that isn't before the core
 * is read, pause_end() does it.
 *
 * @pause   was initialised
 * @record  of the process; is filled in
 *
 * Returns 0 or -errno, logged; the process goes on then.
 */
int pause_begin(const struct target *target, struct crash_record *record, struct pause *pause);

/* What the record's live_process is to be opened with: NULL where the process itself is read. */
const struct process_copy *pause_copy(const struct pause *pause);

/*
 * Lets go threads that couldn't be stopped, and stop late; to be called whenever a child's state
 * changes (SIGCHLD). Returns whether there are any left.
 */
bool pause_see_late(struct pause *pause);

/*
 * Ends a clone that costs more memory than there is, before the kernel ends something else; what
 * wasn't read of it is lost. To be called often: each page that the process writes to is another.
 */
void pause_watch_memory(struct pause *pause);

/* Nothing is read any more: lets the process go, or ends the clone and has it reaped. */
void pause_end(struct pause *pause);

void pause_free(struct pause *pause);
