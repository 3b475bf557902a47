#include "traced.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

void fail(const char *what)
{
    dprintf(STDERR_FILENO, "traced: %s: %s\n", what, strerror(errno));
    _exit(99);
}

pid_t forked(void)
{
    pid_t pid = fork();

    if (pid < 0)
        fail("cannot fork");
    return pid;
}

const char *status_text(int status, char *ret, size_t size)
{
    if (WIFEXITED(status))
        snprintf(ret, size, "exited %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(ret, size, "killed by %d", WTERMSIG(status));
    else if (WIFSTOPPED(status))
        snprintf(ret, size, "stopped by %#x", status >> 8);
    else
        snprintf(ret, size, WIFCONTINUED(status) ? "continued" : "status %#x", status);
    return ret;
}

int say_wait(const char *name, pid_t pid, int options)
{
    int status = 0;
    char text[64];
    pid_t r;

    do
        r = waitpid(pid, &status, options);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        SAY("%s: waitpid: %s\n", name, strerror(errno));
    else
        SAY("%s %s\n", name,
            r == 0 ? "has nothing to tell" : status_text(status, text, sizeof(text)));
    return status;
}

void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        fail("cannot share memory");
    return memory;
}

void sleep_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

bool moves(volatile int *counter, int from)
{
    for (int i = 0; i < 10000 && *counter == from; i++)
        sleep_ms(1);
    return *counter != from;
}

void await_call(pid_t tid, long number)
{
    char path[64], text[64];

    snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
    for (int i = 0; i < 20000; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        close(fd);
        if (n <= 0)
            fail(path);
        text[n] = '\0';
        if (text[0] >= '0' && text[0] <= '9' && atol(text) == number)
            return;
        sleep_ms(1);
    }
    fail("a child doesn't come to its system call");
}

void start_thread(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    errno = pthread_create(&thread, &attributes, run, argument);
    if (errno != 0)
        fail("cannot make a thread");
}

void *nothing(void *argument)
{
    for (;;)
        pause();
    return argument;
}

pid_t own_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

NOINLINE int crash_here(void)
{
    /* Not to be foreseen by the compiler, which may otherwise make a trap of it. */
    volatile int *volatile nowhere = NULL;

    *nowhere = 1;
    return 0;
}

void end_as(int how)
{
    if (how >= 0)
        _exit(how);
    kill(getpid(), -how);
    for (;;)
        pause();
}

static const struct mode *const all_modes[] = {signal_modes,  job_modes,    call_modes,
                                               process_modes, thread_modes, ptrace_modes,
                                               seccomp_modes, crash_modes};

#define N_ALL_MODES (sizeof(all_modes) / sizeof(all_modes[0]))

/* A function of its own, so that the stack has it whatever the compiler does to main(). */
NOINLINE int run(const struct mode *mode, char **arguments);

int run(const struct mode *mode, char **arguments)
{
    return mode->run(arguments);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < N_ALL_MODES; i++)
        for (const struct mode *mode = all_modes[i]; mode->name; mode++)
            if (strcmp(mode->name, argv[1]) == 0 && (argc > 2 || !mode->arguments[0]))
                return run(mode, argv + 2);

    dprintf(STDERR_FILENO, "usage: traced MODE [ARGUMENT...]\n");
    for (size_t i = 0; i < N_ALL_MODES; i++)
        for (const struct mode *mode = all_modes[i]; mode->name; mode++)
            dprintf(STDERR_FILENO, "  %-22s %s\n", mode->name, mode->arguments);
    return 2;
}
