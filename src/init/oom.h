#pragma once

/*
 * The kernel's OOM killer and a SIGKILL of somebody else's look the same to a parent. The memory
 * cgroup counts the former (memory.events, cgroup-v2.rst; memory.oom_control,
 * cgroup-v1/memory.rst), and counts before it kills. So whoever died of SIGKILL while a kill was
 * counted that nobody else died of, died of that.
 *
 * Nothing here allocates once it is open, and no path is walked: the container's file system may
 * hang.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "init/crash_record.h"

struct oom {
    int fd;         /* of the counters; -1: there are none */
    uint64_t count; /* kills, at the last look */
    uint64_t told;  /* kills that are accounted for: of before, or of a process that is known */
    int64_t risen;  /* when the count was seen to rise, milliseconds */
    int64_t next;   /* look at kills that nobody is accounted for; INT64_MAX: none */
    char before[CRASH_MEMORY_EVENTS]; /* the counters when all kills were accounted for */
    char now[CRASH_MEMORY_EVENTS];
};

/*
 * Finds the file of this process's memory cgroup: a version 1 hierarchy with the memory controller,
 * else version 2.
 *
 * @cgroups    text of /proc/self/cgroup (cgroups(7))
 * @mountinfo  a line of /proc/self/mountinfo (proc_pid_mountinfo(5))
 * @ret        its path, where the line is of that hierarchy's mount
 *
 * Returns whether it is.
 */
bool oom_find(const char *cgroups, const char *mountinfo, char *ret, size_t size);

/* The count in the counters' text. Returns false where it has none (Linux before 4.13). */
bool oom_parse(const char *text, uint64_t *ret);

/* Opens the counters; may allocate. What there is none of is no error. */
void oom_open(struct oom *ret);

/* The program starts: what was killed before isn't it. */
void oom_begin(struct oom *oom, int64_t now_ms);

/* A process died of SIGKILL. Returns whether that was the OOM killer's. */
bool oom_claims(struct oom *oom);

/* To be called when @oom->next is due: logs kills that nobody is accounted for, as they are no
 * later process's. */
void oom_look(struct oom *oom, int64_t now_ms);

/* Copies the counters' texts into a record, as they are now. */
void oom_testify(struct oom *oom, struct crash_record *record);
