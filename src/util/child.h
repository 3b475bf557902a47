#pragma once

/* Waiting for a child process, but not for ever. */

#include <stdint.h>
#include <sys/types.h>

/* CLOCK_MONOTONIC in nanoseconds: what deadlines are given in. */
int64_t monotonic_ns(void);

/* The same in milliseconds: what PID 1 counts in, as poll(2) does. */
int64_t monotonic_ms(void);

/*
 * Waits for a child's end until a deadline. At the deadline the child is killed, and reaped.
 *
 * @ret_status  as wait(2) reports it
 *
 * Returns 0, -ETIMEDOUT (it was killed) or -errno of waitpid(2).
 */
int child_wait(pid_t pid, int64_t deadline_ns, int *ret_status);
