#pragma once

/* Signals of an init: everything is blocked and read from a signalfd(2), then forwarded. */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* What the program gets back: the signal state as coreinit was given it. */
struct signal_state {
    sigset_t mask;
    struct sigaction chld, ttin, ttou;
};

/*
 * Blocks every signal and opens a signalfd for them. Blocked signals reach PID 1 even from inside
 * its namespace, where the kernel drops those with default action (pid_namespaces(7)).
 *
 * SIGCHLD gets its default action (an inherited SIG_IGN would reap children unseen, wait(2));
 * SIGTTIN and SIGTTOU are ignored, since the program's group owns the terminal.
 *
 * @ret_given  what was in force before
 *
 * Returns the descriptor or -errno.
 */
int signals_take_over(struct signal_state *ret_given);

/* Restores the given state; for the child between fork(2) and execve(2). Returns 0 or -errno. */
int signals_give_back(const struct signal_state *given);

/* Undoes everything for corectl: default actions, and nothing blocked but SIGTERM, which it asks
 * for. It was blocked before: what is sent at once isn't lost. */
void signals_reset(void);

/* True for those that ask a container to stop. */
bool signal_stops(int signo);

/*
 * "SIGSEGV", "SIGRTMIN+3" or "signal 99"; @ret takes at least 24 bytes and is returned.
 */
const char *signal_text(int signo, char *ret, size_t size);
