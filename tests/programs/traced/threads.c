/* Threads: that they come, end, get their signals, and end their process. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "traced.h"

static void *return_argument(void *argument)
{
    return argument;
}

static void *count_down(void *argument)
{
    __atomic_sub_fetch((int *)argument, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static int many_threads(char **arguments)
{
    enum { at_once = 8 };
    const int count = atoi(arguments[0]);
    pthread_t threads[at_once];
    char results[at_once];
    static int n_left;
    int n_right = 0;

    for (int i = 0; i < count; i += at_once) {
        for (int n = 0; n < at_once; n++) {
            errno = pthread_create(&threads[n], NULL, return_argument, &results[n]);
            if (errno != 0)
                fail("cannot make a thread");
        }
        for (int n = 0; n < at_once; n++) {
            void *result;

            pthread_join(threads[n], &result);
            n_right += result == &results[n];
        }
    }
    SAY("%d were joined\n", n_right);
    n_left = 200;
    for (int i = 0; i < 200; i++)
        start_thread(count_down, &n_left);
    while (__atomic_load_n(&n_left, __ATOMIC_SEQ_CST) > 0)
        sleep_ms(1);
    SAY("the detached ran\n");
    return 0;
}

static void *outlive_the_leader(void *argument)
{
    const char *how = argument;
    char text[64];
    pid_t pid;

    /* The leader is a zombie in the list of threads now. */
    for (text[0] = 0; !strchr(text, 'Z') && !strchr(text, 'X');) {
        int fd;
        ssize_t n;

        snprintf(text, sizeof(text), "/proc/self/task/%d/stat", getpid());
        fd = open(text, O_RDONLY | O_CLOEXEC);
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[n < 0 ? 0 : n] = '\0';
        sleep_ms(1);
    }
    SAY("the leader is gone\n");
    pid = forked();
    if (pid == 0)
        _exit(3);
    say_wait("a child", pid, 0);
    if (strcmp(how, "crash") == 0)
        crash_here();
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "exit") == 0)
        exit(7);
    else if (strcmp(how, "kill") == 0)
        kill(getpid(), SIGTERM);
    else if (strcmp(how, "quit") == 0)
        kill(getpid(), SIGQUIT);
    return NULL;
}

static int leader_gone(char **arguments)
{
    start_thread(outlive_the_leader, arguments[0]);
    pthread_exit(NULL);
}

/* The first thread's own status counts, where each ends alone (exit(2)). */
static int leader_leaves(char **arguments)
{
    start_thread(outlive_the_leader, "return");
    (void)arguments;
    syscall(SYS_exit, 5);
    return 0;
}

static void *end_process(void *argument)
{
    exit(*(int *)argument);
}

static int thread_exits(char **arguments)
{
    int status = atoi(arguments[0]);

    for (int i = 0; i < 30; i++)
        start_thread(nothing, NULL);
    start_thread(end_process, &status);
    nothing(NULL);
    return 0;
}

static volatile int handled_in;

static void note_thread(int signo)
{
    (void)signo;
    handled_in = own_tid();
}

struct sleeper {
    pthread_t thread;
    volatile pid_t tid;
};

static void *sleep_under_name(void *argument)
{
    struct sleeper *sleeper = argument;

    sleeper->tid = own_tid();
    return nothing(NULL);
}

/* A signal for one thread is handled by that one; the others sleep on. */
static int thread_signals(char **arguments)
{
    struct sleeper sleepers[10];
    int n_right = 0;
    void *result;

    (void)arguments;
    signal(SIGUSR1, note_thread);
    for (int i = 0; i < 10; i++) {
        sleepers[i].tid = 0;
        pthread_create(&sleepers[i].thread, NULL, sleep_under_name, &sleepers[i]);
        while (!sleepers[i].tid)
            sleep_ms(1);
    }
    for (int i = 0; i < 100; i++) {
        handled_in = 0;
        pthread_kill(sleepers[i % 10].thread, SIGUSR1);
        n_right += moves(&handled_in, 0) && handled_in == sleepers[i % 10].tid;
    }
    SAY("%d signals went where they were sent\n", n_right);

    /* glibc's own signals: every thread changes its ids; a thread is cancelled. */
    SAY("setgid: %d, setuid: %d\n", setgid(getgid()), setuid(getuid()));
    for (int i = 0; i < 10; i++) {
        pthread_cancel(sleepers[i].thread);
        pthread_join(sleepers[i].thread, &result);
        n_right += result == PTHREAD_CANCELED;
    }
    SAY("%d after all were cancelled\n", n_right);
    return 0;
}

/* A signal to the process goes to a thread that doesn't block it, whichever that is. */
static int process_signals(char **arguments)
{
    struct sleeper sleeper = {.tid = 0};
    sigset_t set;
    int n_right = 0;

    (void)arguments;
    signal(SIGUSR1, note_thread);
    pthread_create(&sleeper.thread, NULL, sleep_under_name, &sleeper);
    while (!sleeper.tid)
        sleep_ms(1);
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 100; i++) {
        handled_in = 0;
        kill(getpid(), SIGUSR1);
        n_right += moves(&handled_in, 0) && handled_in == sleeper.tid;
    }
    SAY("%d of 100 were handled in the thread that takes them\n", n_right);
    return 0;
}

const struct mode thread_modes[] = {
    {"many-threads", "COUNT", many_threads},
    {"leader-gone", "exit|return|kill|quit|crash|abort", leader_gone},
    {"leader-leaves", "", leader_leaves},
    {"thread-exits", "STATUS", thread_exits},
    {"thread-signals", "", thread_signals},
    {"process-signals", "", process_signals},
    {NULL, NULL, NULL},
};
