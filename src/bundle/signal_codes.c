#include "bundle/signal_codes.h"

#include <signal.h>
#include <stddef.h>

#define ANY 0

/* Not in every libc's headers; asm-generic/siginfo.h. */
#define SEGV_CPERR 10
#define SYS_SECCOMP 1
#define SYS_USER_DISPATCH 2

#define CODE(signo, code)                                                                          \
    {                                                                                              \
        signo, code, #code                                                                         \
    }

static const struct {
    int signo;
    int code;
    const char *name;
} codes[] = {
    CODE(ANY, SI_USER),
    CODE(ANY, SI_KERNEL),
    CODE(ANY, SI_QUEUE),
    CODE(ANY, SI_TIMER),
    CODE(ANY, SI_MESGQ),
    CODE(ANY, SI_ASYNCIO),
    CODE(ANY, SI_SIGIO),
    CODE(ANY, SI_TKILL),
    CODE(SIGSEGV, SEGV_MAPERR),
    CODE(SIGSEGV, SEGV_ACCERR),
    CODE(SIGSEGV, SEGV_BNDERR),
    CODE(SIGSEGV, SEGV_PKUERR),
    CODE(SIGSEGV, SEGV_MTEAERR),
    CODE(SIGSEGV, SEGV_MTESERR),
    CODE(SIGSEGV, SEGV_CPERR),
    CODE(SIGBUS, BUS_ADRALN),
    CODE(SIGBUS, BUS_ADRERR),
    CODE(SIGBUS, BUS_OBJERR),
    CODE(SIGBUS, BUS_MCEERR_AR),
    CODE(SIGBUS, BUS_MCEERR_AO),
    CODE(SIGILL, ILL_ILLOPC),
    CODE(SIGILL, ILL_ILLOPN),
    CODE(SIGILL, ILL_ILLADR),
    CODE(SIGILL, ILL_ILLTRP),
    CODE(SIGILL, ILL_PRVOPC),
    CODE(SIGILL, ILL_PRVREG),
    CODE(SIGILL, ILL_COPROC),
    CODE(SIGILL, ILL_BADSTK),
    CODE(SIGFPE, FPE_INTDIV),
    CODE(SIGFPE, FPE_INTOVF),
    CODE(SIGFPE, FPE_FLTDIV),
    CODE(SIGFPE, FPE_FLTOVF),
    CODE(SIGFPE, FPE_FLTUND),
    CODE(SIGFPE, FPE_FLTRES),
    CODE(SIGFPE, FPE_FLTINV),
    CODE(SIGFPE, FPE_FLTSUB),
    CODE(SIGTRAP, TRAP_BRKPT),
    CODE(SIGTRAP, TRAP_TRACE),
    CODE(SIGTRAP, TRAP_BRANCH),
    CODE(SIGTRAP, TRAP_HWBKPT),
    CODE(SIGTRAP, TRAP_UNK),
    CODE(SIGSYS, SYS_SECCOMP),
    CODE(SIGSYS, SYS_USER_DISPATCH),
};

const char *signal_code_name(int signo, int code)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].code == code && (codes[i].signo == ANY || codes[i].signo == signo))
            return codes[i].name;
    return NULL;
}

bool signal_code_has_sender(int code)
{
    return code == SI_USER || code == SI_QUEUE || code == SI_TKILL || code == SI_MESGQ;
}

bool signal_code_has_address(int signo, int code)
{
    static const int with_address[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

    /* SI_KERNEL stands for what the processor tells no address of, a non-canonical one above all.
     */
    for (size_t i = 0; i < sizeof(with_address) / sizeof(with_address[0]); i++)
        if (with_address[i] == signo)
            return code > 0 && code != SI_KERNEL;
    return false;
}
