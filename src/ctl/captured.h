#pragma once

/*
 * What was captured of a crash: the kernel's core file, or the process itself, which coreinit
 * holds; or of a process that goes on: a copy of it. All are read alike: as a stream for the zip,
 * and at addresses for the stack.
 */

#include <stdbool.h>

#include "bundle/crash_json.h"
#include "capture/core_source.h"
#include "capture/kernel_core.h"
#include "capture/live_process.h"
#include "init/crash_record.h"

struct captured {
    struct crash_record *record;
    struct kernel_core *kernel;   /* the kernel's core, or NULL */
    struct live_process *live;    /* the process, or NULL */
    const struct core_info *info; /* of these, else of the maps; NULL where nothing is known */
    int memory_fd;                /* what info->memory lies in; -1: nothing (any more) */
    struct core_info *maps_info;
};

/*
 * Finds the core, or learns what there is without it.
 *
 * @copy    of a snapshot: what was copied of the memory (live_process.h), else NULL; must outlive
 * @ret
 * @bundle  is told the info, the source, and why there is no core
 * @ret     to be freed with captured_free(), also after an error
 *
 * Returns 0, or -ENOENT with bundle->no_core.
 */
int captured_open(struct crash_record *record, const struct process_copy *copy,
                  struct bundle *bundle, struct captured *ret);

/*
 * The same of a crash that an earlier collector had begun to bundle: opens the kernel's core that
 * it had noted, without looking for another.
 *
 * @stays  captured_may_remove() was false of it
 *
 * Returns 0, or -ENOENT with bundle->no_core.
 */
int captured_open_noted(struct crash_record *record, const char *path, bool stays,
                        struct bundle *bundle, struct captured *ret);

/*
 * Of a crash whose core isn't wanted: lets a process that is held go, and opens the kernel's core,
 * if it wrote one, for captured_remove(). @ret  as captured_open()'s
 */
void captured_open_unwanted(struct crash_record *record, struct captured *ret);

bool captured_has_core(const struct captured *captured);

/* Opens a stream of the core, as often as is wanted. Returns 0 or -errno. */
int captured_source(struct captured *captured, struct core_source **ret);

/*
 * A file for a debugger: the kernel's core, or a small one of the process, in memory.
 *
 * Returns a descriptor (the caller's), or -errno.
 */
int captured_open_for_debugger(struct captured *captured);

/*
 * Lets a process that is held go, to die, or gives up the copy of one that goes on; nothing of it
 * can be read any more. Where none is held, the program may be started again from here on.
 *
 * @has_core  its core is safe, and the kernel need not make one
 */
void captured_release(struct captured *captured, bool has_core);

/* Logs what becomes of a core that no place takes. */
void captured_tell_fate(const struct captured *captured);

/*
 * Whether there is a file of the kernel's that is this crash's for certain. It is only where
 * wait(2) told of the process itself, or where the core that appeared is nobody else's: a shell's
 * word for its child is not enough to delete.
 */
bool captured_may_remove(const struct captured *captured);

/* Removes that file, a second copy once the zip is whole, if it may be removed. */
void captured_remove(struct captured *captured);

void captured_free(struct captured *captured);
