#pragma once

/*
 * Tracing the program and all that descends from it (PTRACE_SEIZE, ptrace(2)), so that it runs as
 * if untraced until a signal is about to kill it with a core dump. Nothing is remembered about a
 * thread: what a stop means, the stop itself tells.
 */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "init/kept.h"
#include "trace/request.h"

/* Processes that are held, or dying after it. */
#define MOST_HELD 8

/* Processes that the program traces itself: this many are taken back afterwards. */
#define MOST_HANDED_OVER 32

/* Processes that others asked for (request.h). */
#define MOST_LENT 4

struct held_process {
    pid_t pid; /* 0: free */
    pid_t tid; /* the thread at the fatal signal */
    int signo;
    bool is_init; /* of a pid namespace */
    bool is_let_go;
};

struct tracer {
    bool is_on;
    bool hands_over;   /* the program's own calls of ptrace(2) are to be seen (handover.h) */
    int calls_fd;      /* and are told here, -1 where not */
    bool keeps;        /* memory must be opened early: there is no CAP_SYS_PTRACE (kept.h) */
    bool told_of_loss; /* a set-uid program ran without its privileges, for it is traced */
    struct kept_processes kept;
    struct held_process held[MOST_HELD];
    struct handed_over {
        pid_t pid; /* 0: free */
        pid_t tracer;
    } handed_over[MOST_HANDED_OVER];
    unsigned next_handed_over;
    struct lent {
        pid_t pid; /* 0: free */
        int fd;    /* pidfd of it: nobody may tell of its end, and its number is given again */
        pid_t borrower;
        int borrower_fd; /* pidfd: told at the borrower's end */
    } lent[MOST_LENT];
};

/* A thread that is about to die of a signal, and its whole process with it. */
struct fatal_stop {
    pid_t pid, tid;
    bool is_init;
    siginfo_t siginfo;
};

/*
 * Finds out whether tracing is possible here, on a child made for it.
 *
 * @why  where it isn't: one clause, with the cause
 *
 * Returns 0 or -errno.
 */
int tracer_probe(char *why, size_t why_size);

/* Begins to trace a child that hasn't executed its program yet. Returns 0 or -errno. */
int tracer_seize(pid_t pid);

/*
 * Begins to trace a process that runs, with all its threads and those of its descendants that
 * nobody else traces.
 *
 * Returns the number of its threads that are traced now, or the -errno of the one that isn't.
 */
int tracer_seize_all(struct tracer *tracer, pid_t pid);

/*
 * Sees a tracee's stop, which waitid(2) reported with CLD_TRAPPED and doesn't any more, and resumes
 * the tracee as an untraced one would go on.
 *
 * Returns true, and leaves it stopped, where it is at a signal that will end it with a core dump.
 */
bool tracer_see_stop(struct tracer *tracer, const siginfo_t *stop, struct fatal_stop *ret);

/* Passes the signal of a fatal stop on: nobody wants the core. */
void tracer_pass(const struct fatal_stop *stop);

/*
 * Holds the process of a fatal stop, and fills in what its record tells of a held one.
 *
 * Returns 0, or -errno where it can't be (-EBUSY: too many are held): the signal is to be passed.
 */
int tracer_hold(struct tracer *tracer, const struct fatal_stop *stop, struct crash_record *record);

/* Whether a process is held, or dying after it. */
bool tracer_holds(const struct tracer *tracer, pid_t pid);

/*
 * Lets a held process die of its signal; does nothing where it isn't held any more.
 *
 * @has_core  its core was taken: the kernel is kept from making a second one
 */
void tracer_let_go(struct tracer *tracer, pid_t pid, bool has_core);

/* Reads of a call of the program's own ptrace(2), and lets go whom it is about, or takes it back.
 */
void tracer_see_call(struct tracer *tracer);

/*
 * Whether the end of a process is its crash's first word, where it wasn't held. Told are the ends
 * of threads too, and that of a process to its tracer first and to coreinit as its parent then,
 * should it have become that.
 */
bool tracer_is_first_word(struct tracer *tracer, pid_t pid);

/* Learns of a process's end. Returns whether it was held before, so that its crash is known. */
bool tracer_see_end(struct tracer *tracer, pid_t pid);
