#pragma once

/* What a crash record's raw text says, understood. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "init/crash_record.h"

struct crash_facts {
    int signo;     /* the signal that dumps core, 0 where the end was another */
    bool of_child; /* a shell reported 128+N: the process that crashed was a child of its */
    pid_t pid;     /* the recorded process's, in its own pid namespace, as its core names it */
    pid_t ppid;    /* likewise; 0 where unknown, as it is in a namespace below the reader's */
    char comm[17]; /* the thread group leader's; "" where unknown */

    struct timespec started; /* realtime; the epoch where unknown */
    bool knows_start;

    uint64_t core_limit; /* soft RLIMIT_CORE in bytes; UINT64_MAX is unlimited */
    bool knows_core_limit;
    uint64_t file_limit; /* soft RLIMIT_FSIZE, UINT64_MAX also where unknown */

    int64_t fs_uid, fs_gid; /* whom the core belongs to; -1 where unknown */
    bool ignores_modes;     /* CAP_DAC_OVERRIDE */
};

/* Reads the facts from a record; what isn't there is unknown. */
struct crash_facts crash_facts_of(const struct crash_record *record);

/* Whether the process was in a group: its file system group or a supplementary one. */
bool crash_facts_in_group(const struct crash_facts *facts, const struct crash_record *record,
                          gid_t gid);
