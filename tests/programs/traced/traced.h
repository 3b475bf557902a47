#pragma once

/*
 * What a program can do that a tracer might get wrong, by named modes. Each mode says on stdout
 * what it saw, in words that are the same in every run: no pids, no times. The tests run it
 * untraced and traced, and compare.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

/* Unbuffered, so that neither fork(2) nor a crash doubles or loses a line. */
#define SAY(...) dprintf(STDOUT_FILENO, __VA_ARGS__)

struct mode {
    const char *name;
    const char *arguments; /* that it needs, for usage */
    int (*run)(char **arguments);
};

/* Each is ended by a mode without a name. */
extern const struct mode signal_modes[], job_modes[], call_modes[], process_modes[], thread_modes[],
    ptrace_modes[], seccomp_modes[], crash_modes[];

/* Ends the process with status 99 where the machine is not as the mode needs it. */
void fail(const char *what) __attribute__((noreturn));

/* fork(2) that doesn't fail. */
pid_t forked(void);

/* waitpid(2) for one child; says "NAME exited 3", "NAME killed by 15", "… stopped by 19". */
int say_wait(const char *name, pid_t pid, int options);

/* "exited 3" and so on, of a wait status. */
const char *status_text(int status, char *ret, size_t size);

/* Memory that children share. */
void *shared(size_t size);

void sleep_ms(unsigned ms);

/* Waits (10 s at most) until *counter is not @from any more; returns whether it moved. */
bool moves(volatile int *counter, int from);

/* Waits until the thread sleeps in the system call @number, or fails. */
void await_call(pid_t tid, long number);

/* Makes a thread that doesn't fail to start. */
void start_thread(void *(*run)(void *), void *argument);

/* Sleeps for ever; also a thread's life. */
void *nothing(void *argument);

pid_t own_tid(void);

/* Writes to NULL; a frame that tests look for. */
int crash_here(void);

/* The signal by number, with '-' before it: kills the calling process; else its exit status. */
void end_as(int how) __attribute__((noreturn));
