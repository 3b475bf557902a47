#pragma once

/*
 * What procfs tells about a process only while it lives. When wait(2) reports a death, /proc/PID
 * has lost its working directory, executable, command line and mappings; the kernel's core may lie
 * in that directory and the executable may be deleted. So PID 1 looks now and then, and remembers
 * the latest.
 *
 * Nothing here allocates, and no look reads more than a bounded number of processes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "init/core_watch.h"
#include "init/crash_record.h"

/* The program and this many of its descendants, those seen last. */
#define WITNESSES 16

struct witness {
    pid_t pid; /* 0: free */
    uint64_t last_look;
    uint32_t exe_major, exe_minor;
    uint64_t exe_inode;
    int exe_fd;  /* O_PATH, -1 where there is none */
    int root_fd; /* likewise */
    int maps_fd; /* memfd, -1 where none could be made */
    char stat[1024];
    char cwd[PATH_MAX];
    char exe[PATH_MAX];
    char cmdline[8192];
    uint32_t cmdline_size;
};

struct witnesses {
    struct witness of[WITNESSES]; /* of[0] is the program's */
    uint64_t looks;
    uint64_t start; /* looks before the program's start */
    char start_cwd[PATH_MAX];
    struct core_watch *watch; /* is told where processes are; NULL: nobody is */
};

/* Remembers the working directory of the start; @all is zero, as static memory is. */
void witness_init(struct witnesses *all);

/* Looks at the program alone; called as soon as execve(2) of @argv succeeded. */
void witness_look_at_program(struct witnesses *all, pid_t program, char *const *argv);

/* Looks at a process that was attached to, and is the program from now on. */
void witness_begin(struct witnesses *all, pid_t program);

/* The program has ended, and there is none for a while: nothing of its container is held. */
void witness_end(struct witnesses *all);

/*
 * Looks at one process, the program or another.
 *
 * @tid  a thread of it that lives: of a leader that has exited procfs tells little
 */
void witness_look_at_process(struct witnesses *all, pid_t pid, pid_t tid);

/* Looks at the program and its descendants. */
void witness_look(struct witnesses *all, pid_t program);

/* Milliseconds from one look to the next: often at the start, when programs move, then every 2 s.
 */
int witness_interval(const struct witnesses *all);

/*
 * Moves what is known of a dead process into its record, descriptors included.
 *
 * @pid  the process; with @of_child, a shell that reported its child's death: the process is then
 * that descendant which was seen last among those that are gone
 */
void witness_testify(struct witnesses *all, pid_t pid, bool of_child, struct crash_record *record);
