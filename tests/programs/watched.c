/*
 * The application that is attached to: it waits for signals while its threads count.
 *
 *   watched [threads N | worker | daemon]
 *
 * It tells its number when it is ready: with "worker" that of its child, with "daemon" its own and,
 * after a first signal, that of the daemon it becomes. SIGUSR1: it crashes in crash_here().
 * SIGUSR2: it prints how far the threads have counted. SIGTERM ends it with status 7. It builds
 * with any libc, and with -DWITH_LIBRARY crashes below library.c's frame.
 */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

#ifdef WITH_LIBRARY
int through_library(int (*function)(int));
#else
static NOINLINE int through_library(int (*function)(int))
{
    return function(1) + 1;
}
#endif

NOINLINE int crash_here(int value);

int crash_here(int value)
{
    volatile int *volatile nowhere = NULL;

    *nowhere = value;
    return value;
}

static atomic_ulong counted;

/* The more threads, the slower each: all of them together leave the machine to others. */
static useconds_t pause_us;

static void *count(void *argument)
{
    (void)argument;
    for (;;) {
        atomic_fetch_add(&counted, 1);
        usleep(pause_us);
    }
    return NULL;
}

static void start_threads(int count_of_them)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pause_us = 1000 + (useconds_t)count_of_them * 100;
    for (int i = 0; i < count_of_them; i++)
        if (pthread_create(&thread, &attributes, count, NULL) != 0)
            exit(99);
}

/* Once it is told to, it leaves its parents, as daemon(3) does. */
static void become_daemon(const sigset_t *signals)
{
    pid_t parent;
    int signo;

    printf("ready %d\n", (int)getpid());
    sigwait(signals, &signo);
    if (fork() > 0)
        _exit(0);
    parent = setsid();
    if (fork() > 0)
        _exit(0);
    while (getppid() == parent)
        usleep(1000);
}

/* A worker for which its parent waits, and after it for the next one. */
static void become_worker(void)
{
    pid_t worker;
    int status;

    alarm(300);
    while ((worker = fork()) > 0) {
        waitpid(worker, &status, 0);
        printf("worker ended with signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    sigset_t signals;
    int signo = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (strcmp(mode, "daemon") == 0)
        become_daemon(&signals);
    if (strcmp(mode, "worker") == 0)
        become_worker();
    alarm(300); /* whatever becomes of the test */
    start_threads(strcmp(mode, "threads") == 0 && argc > 2 ? atoi(argv[2]) : 0);
    printf("ready %d\n", (int)getpid());
    while (signo != SIGTERM) {
        sigwait(&signals, &signo);
        if (signo == SIGUSR1)
            return through_library(crash_here);
        if (signo == SIGUSR2)
            printf("counted %lu\n", atomic_load(&counted));
    }
    return 7;
}
