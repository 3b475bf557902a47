#include "init/signals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

int signals_take_over(struct signal_state *ret_given)
{
    struct sigaction ignored = {.sa_handler = SIG_IGN}, standard = {.sa_handler = SIG_DFL};
    sigset_t all;
    int fd;

    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, &ret_given->mask) < 0 ||
        sigaction(SIGCHLD, &standard, &ret_given->chld) < 0 ||
        sigaction(SIGTTIN, &ignored, &ret_given->ttin) < 0 ||
        sigaction(SIGTTOU, &ignored, &ret_given->ttou) < 0)
        return -errno;
    fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int signals_give_back(const struct signal_state *given)
{
    if (sigaction(SIGCHLD, &given->chld, NULL) < 0 || sigaction(SIGTTIN, &given->ttin, NULL) < 0 ||
        sigaction(SIGTTOU, &given->ttou, NULL) < 0 ||
        sigprocmask(SIG_SETMASK, &given->mask, NULL) < 0)
        return -errno;
    return 0;
}

void signals_reset(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t blocked;

    for (int signo = 1; signo < NSIG; signo++)
        (void)sigaction(signo, &standard, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, &blocked, NULL);
}

bool signal_stops(int signo)
{
    return signo == SIGTERM || signo == SIGINT || signo == SIGQUIT;
}

const char *signal_text(int signo, char *ret, size_t size)
{
    const char *abbreviation = sigabbrev_np(signo);

    if (abbreviation)
        snprintf(ret, size, "SIG%s", abbreviation);
    else if (signo >= SIGRTMIN && signo <= SIGRTMAX)
        snprintf(ret, size, "SIGRTMIN+%d", signo - SIGRTMIN);
    else
        snprintf(ret, size, "signal %d", signo);
    return ret;
}
