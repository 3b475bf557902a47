#include "util/core_signals.h"

#include <signal.h>
#include <stddef.h>

static const int core_signals[] = {SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
                                   SIGFPE,  SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};

bool signal_dumps_core(int signo)
{
    for (size_t i = 0; i < sizeof(core_signals) / sizeof(core_signals[0]); i++)
        if (core_signals[i] == signo)
            return true;
    return false;
}
