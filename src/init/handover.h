#pragma once

/*
 * A process has one tracer at most. Where the program traces something itself (a debugger, a crash
 * reporter that attaches to its parent, LeakSanitizer), coreinit steps aside: a seccomp(2) filter
 * tells of calls of ptrace(2) that make a tracee or let it go (seccomp_unotify(2)), and whoever is
 * to become one is let go before the call goes on. Every other call passes the filter at no cost.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A call that waits for its answer. */
struct handover_call {
    uint64_t id;
    pid_t tracee; /* the thread it is about; 0 where there is no telling */
    pid_t tracer; /* the process that traces it from now on, or until now; likewise */
    bool ends;    /* else begins */
};

/*
 * Whether the filter can be had (Linux 5.5) without a price: it needs CAP_SYS_ADMIN or
 * no_new_privs. The latter takes nothing from who is traced without CAP_SYS_PTRACE, since execve(2)
 * grants no privileges then either.
 */
bool handover_is_possible(void);

/*
 * Installs the filter, for the child before execve(2) of the program.
 *
 * Returns the descriptor that tells of the calls (close-on-exec), or -errno.
 */
int handover_install(void);

/* Reads one call. Returns 0, or -errno (-ENOENT: it was interrupted meanwhile). */
int handover_read(int fd, struct handover_call *ret);

/* Lets the call go on. */
void handover_go_on(int fd, const struct handover_call *call);
