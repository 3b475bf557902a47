#pragma once

/* Stopping all of a process, and letting it go: to die of its signal, or to run on. */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Stops every thread of a process (PTRACE_INTERRUPT, ptrace(2)) and saves the registers of all. The
 * stops are still to be told by wait(2).
 *
 * Threads that the kernel doesn't stop within half a second (in an uninterruptible sleep, or
 * waiting for a vfork(2) child) are left out, which is logged.
 *
 * @tid        the thread that is stopped at the fatal signal: its notes come first
 * @siginfo    of that signal
 * @ret_notes  memfd with the notes (thread_note.h), owned by the caller, or -1
 *
 * Returns the number of threads saved, or -errno (-ESRCH: the process is gone; -ENOTSUP:
 * a 32-bit one).
 */
int holding_stop(pid_t pid, pid_t tid, const siginfo_t *siginfo, int *ret_notes);

/*
 * Traces every thread of a process that nobody traces (PTRACE_SEIZE), and stops it. What is needed
 * to be allowed that is the caller's to have.
 *
 * Returns how many threads couldn't be stopped within half a second: they are traced all the same.
 * Or -ESRCH, -EPERM or another -errno, and nothing is traced.
 */
int holding_seize(pid_t pid);

/* Saves the registers of all stopped threads, as holding_stop() does. */
int holding_save(pid_t pid, pid_t tid, const siginfo_t *siginfo, int *ret_notes);

/* A thread of a process that this one traces and that is stopped: the leader where it is; 0 where
 * there is none. */
pid_t holding_stopped_thread(pid_t pid);

/* As holding_detach(), but waits for no thread that isn't stopped. Returns how many are left. */
int holding_detach_stopped(pid_t pid);

/*
 * Lets every thread of a process go that this one traces (PTRACE_DETACH): each is interrupted
 * unless it is stopped, and goes on with the signal it was stopped at, or stays in its group-stop.
 * Threads that are made meanwhile are let go too.
 *
 * Returns how many threads couldn't be within half a second: they are still traced.
 */
int holding_detach(pid_t pid);

/*
 * Delivers a fatal signal. Threads that were stopped never run again.
 *
 * @is_init  of a pid namespace, which no signal kills while it is traced: it is
 * detached, to fault once more
 */
void holding_pass(pid_t tid, int signo, bool is_init);

/*
 * Keeps the kernel from making a core of a process: RLIMIT_CORE says neither to write nor to pipe
 * one (core(5)). A pipe can't be barred where the hard limit is 0, nor can a socket.
 */
void holding_forbid_core(pid_t pid);
