#include "ctl/interruption.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "util/cleanup.h"

struct interruption {
    pthread_t thread;
    int signal_fd, end_fd;
    void (*on_signal)(void *context, int signo);
    void *context;
};

static void *watch(void *argument)
{
    struct interruption *interruption = argument;
    struct pollfd events[] = {{.fd = interruption->signal_fd, .events = POLLIN},
                              {.fd = interruption->end_fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (!events[1].revents)
        if (poll(events, 2, -1) > 0 && events[0].revents &&
            read(interruption->signal_fd, &info, sizeof(info)) == sizeof(info))
            interruption->on_signal(interruption->context, (int)info.ssi_signo);
    return NULL;
}

static void interruption_free(struct interruption *interruption)
{
    close_fd(interruption->signal_fd);
    close_fd(interruption->end_fd);
    free(interruption);
}

/* Returns 0 or -errno of what a thread needs. */
static int start(struct interruption *interruption)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t watched;

    sigemptyset(&watched);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction action;

        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&watched, signals[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &watched, NULL);
    interruption->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (interruption->signal_fd < 0)
        return -errno;
    interruption->end_fd = eventfd(0, EFD_CLOEXEC);
    if (interruption->end_fd < 0)
        return -errno;
    return -pthread_create(&interruption->thread, NULL, watch, interruption);
}

int interruption_start(void (*on_signal)(void *context, int signo), void *context,
                       struct interruption **ret)
{
    struct interruption *interruption = calloc(1, sizeof(*interruption));
    int r;

    if (!interruption)
        return -ENOMEM;
    *interruption = (struct interruption){
        .signal_fd = -1, .end_fd = -1, .on_signal = on_signal, .context = context};
    r = start(interruption);
    if (r < 0)
        interruption_free(interruption);
    else
        *ret = interruption;
    return r;
}

void interruption_stop(struct interruption *interruption)
{
    if (!interruption)
        return;
    (void)eventfd_write(interruption->end_fd, 1);
    (void)pthread_join(interruption->thread, NULL);
    interruption_free(interruption);
}
