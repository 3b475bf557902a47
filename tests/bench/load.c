/*
 * What tracing.py runs traced and untraced: one mode for each thing that a tracer may slow down.
 * `load MODE COUNT` does it COUNT times.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Nothing of the kernel's at all. */
static void compute(long count)
{
    volatile uint64_t sink;
    uint64_t state = 88172645463325252u;

    for (long i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    sink = state;
    (void)sink;
}

static void syscalls(long count)
{
    for (long i = 0; i < count; i++)
        syscall(SYS_getppid);
}

static void reap(pid_t pid)
{
    int status;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        fail("a child could not be made, or failed");
}

static void forks(long count)
{
    for (long i = 0; i < count; i++) {
        const pid_t pid = fork();

        if (pid == 0)
            _exit(0);
        reap(pid);
    }
}

/* As a shell's loop over programs. */
static void execs(long count)
{
    static char *const arguments[] = {"true", NULL};

    for (long i = 0; i < count; i++) {
        pid_t pid;

        errno = posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ);
        if (errno != 0)
            fail("cannot spawn /bin/true");
        reap(pid);
    }
}

static void *nothing(void *argument)
{
    return argument;
}

static void threads(long count)
{
    pthread_t thread;

    for (long i = 0; i < count; i++) {
        if (pthread_create(&thread, NULL, nothing, NULL) != 0)
            fail("cannot make a thread");
        pthread_join(thread, NULL);
    }
}

static volatile sig_atomic_t taken;

static void take(int number)
{
    (void)number;
    taken++;
}

/* As a timer's or a runtime's own signals: each one stops a traced thread. */
static void signals(long count)
{
    const pid_t self = getpid();

    signal(SIGUSR1, take);
    for (long i = 0; i < count; i++)
        kill(self, SIGUSR1);
    if (taken != count)
        fail("a signal was lost");
}

/* Two processes and a pipe each way: context switches, no events. */
static void pipes(long count)
{
    int there[2], back[2];
    char byte = 0;
    pid_t pid;

    if (pipe(there) < 0 || pipe(back) < 0)
        fail("cannot make a pipe");
    pid = fork();
    if (pid == 0) {
        for (long i = 0; i < count; i++)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (long i = 0; pid > 0 && i < count; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("the other side is gone");
    reap(pid);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(long count);
    } modes[] = {
        {"compute", compute}, {"syscalls", syscalls}, {"pipes", pipes},     {"forks", forks},
        {"execs", execs},     {"threads", threads},   {"signals", signals},
    };

    for (size_t i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run(atol(argv[2]));
            return 0;
        }
    fprintf(stderr, "usage: load compute|syscalls|pipes|forks|execs|threads|signals COUNT\n");
    return 2;
}
