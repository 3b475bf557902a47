#pragma once

/*
 * Descriptors of traced processes' memory, opened while that is allowed: at execve(2) and fork(2).
 * A process that makes itself undumpable later (prctl(2), a change of user) closes /proc/PID to
 * everyone without CAP_SYS_PTRACE, its tracer included, but not what is open already.
 */

#include <stdint.h>
#include <sys/types.h>

#include "init/crash_record.h"

/* Those of the program, and of this many that were begun last. */
#define KEPT_PROCESSES 64

struct kept_process {
    pid_t pid; /* 0: free */
    int mem_fd, smaps_fd, pagemap_fd;
    char auxv[CRASH_AUXV];
    uint32_t auxv_size;
};

struct kept_processes {
    struct kept_process of[KEPT_PROCESSES]; /* of[0] is the program's */
    unsigned next;                          /* whose place the next one takes */
};

/* Opens what there is of a process, anew if it was kept before: execve(2) gives it new memory. */
void kept_open(struct kept_processes *all, pid_t pid);

/*
 * Moves a process's descriptors into its record, and opens those that weren't kept.
 *
 * @tid  a thread of it that lives: procfs shows no memory of a leader that has exited
 */
void kept_hand_over(struct kept_processes *all, pid_t pid, pid_t tid, struct crash_record *record);

/* Closes what was kept of a process that has ended. */
void kept_forget(struct kept_processes *all, pid_t pid);

/* Closes a record's descriptors. */
void kept_close(struct crash_record *record);
