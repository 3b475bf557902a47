#pragma once

/* The register sets of a stopped thread, saved for its core. */

#include <signal.h>
#include <sys/types.h>

/*
 * Appends a stopped tracee's notes (thread_note.h) to a memfd: every register set that this machine
 * has and a core holds (PTRACE_GETREGSET, ptrace(2); the kernel's regset views), and @siginfo where
 * it isn't NULL.
 *
 * Returns 0, -ESRCH (not stopped, or gone), -ENOTSUP (a 32-bit process) or -errno of writing.
 */
int thread_notes_save(pid_t tid, const siginfo_t *siginfo, int fd);
