#include "util/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* pidfd_open(2) would tell at once, but old kernels and seccomp profiles refuse it. */
#define STEP_NS 2000000

int64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int64_t monotonic_ms(void)
{
    return monotonic_ns() / 1000000;
}

/* Reaps the child if it has ended. Returns 1, 0 if it hasn't yet, or -errno. */
static int try_wait(pid_t pid, int options, int *ret_status)
{
    pid_t r;

    do
        r = waitpid(pid, ret_status, options);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r > 0;
}

int child_wait(pid_t pid, int64_t deadline_ns, int *ret_status)
{
    const struct timespec step = {.tv_nsec = STEP_NS};
    int r;

    while ((r = try_wait(pid, WNOHANG, ret_status)) == 0 && monotonic_ns() < deadline_ns)
        nanosleep(&step, NULL);
    if (r != 0)
        return r < 0 ? r : 0;
    (void)kill(pid, SIGKILL);
    r = try_wait(pid, 0, ret_status);
    return r < 0 ? r : -ETIMEDOUT;
}
