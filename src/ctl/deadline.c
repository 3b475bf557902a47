#include "ctl/deadline.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define MS_NS 1000000ll
#define SECOND_NS 1000000000ll

/*
 * What has to be done after the making: the rest of a zip flushed and on the disk, and the parts of
 * it that are still in memory sent; and after that: crash.json written once more.
 */
#define MOST_TO_SEND_NS (6 * SECOND_NS)
#define MOST_TO_END_NS SECOND_NS

struct deadline {
    const struct crash_settings *settings;
    pthread_t thread;
    int signal_fd, stop_fd;
    pthread_mutex_t mutex;

    /* Under the mutex. */
    int64_t to_make_ns, to_send_ns; /* INT64_MAX: none */
    void (*on_move)(void *context, int64_t at_ns);
    void *context;
};

static int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

/* The deadline is in @left_ns, if it isn't sooner already. */
static void move(struct deadline *deadline, int64_t left_ns)
{
    const int64_t now = monotonic_ns();
    const int64_t to_make = now + left_ns - at_most(left_ns / 3, MOST_TO_SEND_NS);
    const int64_t to_send = now + left_ns - at_most(left_ns / 10, MOST_TO_END_NS);

    pthread_mutex_lock(&deadline->mutex);
    if (to_send < deadline->to_send_ns) {
        deadline->to_make_ns = to_make;
        deadline->to_send_ns = to_send;
        if (deadline->on_move)
            deadline->on_move(deadline->context, to_send);
    }
    pthread_mutex_unlock(&deadline->mutex);
}

static void take_signal(struct deadline *deadline, const struct signalfd_siginfo *info)
{
    int64_t left_ns = deadline->settings->stop_timeout * SECOND_NS;

    if (info->ssi_code == SI_QUEUE)
        left_ns = info->ssi_int > 0 ? info->ssi_int * MS_NS : 0;
    else if (left_ns == 0)
        return;
    log_notice("%.1f s are left for the bundle: coreinit is asked to stop, or the program crashed "
               "again",
               (double)left_ns / SECOND_NS);
    move(deadline, left_ns);
}

static void *watch(void *context)
{
    struct deadline *deadline = context;
    struct pollfd events[] = {{.fd = deadline->signal_fd, .events = POLLIN},
                              {.fd = deadline->stop_fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (events[1].revents == 0) {
        (void)poll(events, 2, -1);
        while (read(deadline->signal_fd, &info, sizeof(info)) == sizeof(info))
            take_signal(deadline, &info);
    }
    return NULL;
}

static void release(struct deadline *deadline)
{
    pthread_mutex_destroy(&deadline->mutex);
    close_fd(deadline->signal_fd);
    close_fd(deadline->stop_fd);
    free(deadline);
}

/* SIGTERM comes by the descriptor alone; all others go to the main thread. */
static int start_thread(struct deadline *deadline)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&deadline->thread, NULL, watch, deadline);
    sigaddset(&before, SIGTERM);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

int deadline_start(const struct crash_settings *settings, struct deadline **ret)
{
    struct deadline *deadline = calloc(1, sizeof(*deadline));
    sigset_t term;
    int r;

    if (!deadline)
        return -ENOMEM;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    *deadline = (struct deadline){
        .settings = settings,
        .signal_fd = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK),
        .stop_fd = eventfd(0, EFD_CLOEXEC),
        .to_make_ns = INT64_MAX,
        .to_send_ns = INT64_MAX,
    };
    pthread_mutex_init(&deadline->mutex, NULL);
    if (settings->collect_timeout)
        move(deadline, settings->collect_timeout * SECOND_NS);
    r = deadline->signal_fd < 0 || deadline->stop_fd < 0 ? -errno : start_thread(deadline);
    if (r < 0)
        release(deadline);
    else
        *ret = deadline;
    return r;
}

void deadline_on_move(struct deadline *deadline, void (*on_move)(void *context, int64_t at_ns),
                      void *context)
{
    if (!deadline)
        return;
    pthread_mutex_lock(&deadline->mutex);
    deadline->on_move = on_move;
    deadline->context = context;
    if (on_move && deadline->to_send_ns != INT64_MAX)
        on_move(context, deadline->to_send_ns);
    pthread_mutex_unlock(&deadline->mutex);
}

int64_t deadline_to_make(struct deadline *deadline)
{
    int64_t at;

    if (!deadline)
        return INT64_MAX;
    pthread_mutex_lock(&deadline->mutex);
    at = deadline->to_make_ns;
    pthread_mutex_unlock(&deadline->mutex);
    return at;
}

bool deadline_is_near(struct deadline *deadline)
{
    return monotonic_ns() >= deadline_to_make(deadline);
}

void deadline_stop(struct deadline *deadline)
{
    if (!deadline)
        return;
    (void)eventfd_write(deadline->stop_fd, 1);
    pthread_join(deadline->thread, NULL);
    release(deadline);
}
