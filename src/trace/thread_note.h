#pragma once

/*
 * What ptrace(2) tells of a stopped thread and procfs doesn't: its register sets, in the memfd of
 * crash_record.threads_fd. The crashing thread comes first; each thread's notes begin with its
 * NT_PRSTATUS. NT_SIGINFO is the crashing thread's alone.
 */

#include <stdint.h>
#include <sys/types.h>

struct thread_note {
    pid_t tid;     /* as coreinit sees it */
    uint32_t type; /* NT_PRSTATUS (the general registers alone), NT_PRFPREG, NT_X86_XSTATE, …: as
                      PTRACE_GETREGSET gives them; or NT_SIGINFO (siginfo_t) */
    uint32_t size; /* bytes that follow, before padding to a multiple of 8 */
    uint32_t reserved;
};

/* The largest register set: AMX's tiles are 8 KiB of XSTATE. */
#define THREAD_NOTE_MAX (32u << 10)
