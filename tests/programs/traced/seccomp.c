/* A program with filters of its own (seccomp(2)). */

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "traced.h"

/* Gives one system call an action and allows all others. Returns the descriptor of a notifier. */
static int filter(long number, uint32_t action, unsigned flags)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog whole = {sizeof(program) / sizeof(program[0]), program};
    long r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("no_new_privs");
    r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &whole);
    if (r < 0)
        fail("seccomp");
    return (int)r;
}

static long filtered_call(void)
{
    struct utsname name;

    return syscall(SYS_uname, &name);
}

static void say_call(const char *what)
{
    long r = filtered_call();

    SAY("%s: %ld %s\n", what, r, r < 0 ? strerrorname_np(errno) : "");
}

static int strict(char **arguments)
{
    pid_t pid = forked();

    if (pid == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        write(STDOUT_FILENO, "strict\n", 7);
        syscall(SYS_exit, 8);
    }
    say_wait("it may exit", pid, 0);
    pid = forked();
    if (pid == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        filtered_call();
        syscall(SYS_exit, 8);
    }
    (void)arguments;
    say_wait("it may not uname", pid, 0);
    return 0;
}

static int errnos(char **arguments)
{
    (void)arguments;
    filter(SYS_uname, SECCOMP_RET_ERRNO | ENOTTY, 0);
    say_call("errno");
    if (forked() == 0) {
        say_call("in a child");
        filter(SYS_uname, SECCOMP_RET_ERRNO | EBADF, 0);
        say_call("the younger filter wins");
        _exit(0);
    }
    wait(NULL);
    return 0;
}

/* RET_TRACE asks a tracer that wants it; there is none. */
static int traces(char **arguments)
{
    (void)arguments;
    filter(SYS_uname, SECCOMP_RET_TRACE | 1, 0);
    say_call("trace");
    if (forked() == 0) {
        say_call("in a child");
        _exit(0);
    }
    wait(NULL);
    return 0;
}

static void emulate(int signo, siginfo_t *info, void *context)
{
    (void)context;
    SAY("signal %d code %d call %d\n", signo, info->si_code, info->si_syscall == SYS_uname);
}

static int traps(char **arguments)
{
    struct sigaction action = {.sa_sigaction = emulate, .sa_flags = SA_SIGINFO};

    (void)arguments;
    sigaction(SIGSYS, &action, NULL);
    filter(SYS_uname, SECCOMP_RET_TRAP, 0);
    for (int i = 0; i < 100; i++)
        filtered_call();
    SAY("emulated\n");
    return 0;
}

static void *call_in_thread(void *argument)
{
    say_call(argument);
    return NULL;
}

/* A thread that is killed leaves the others alone. */
static int kills_thread(char **arguments)
{
    pthread_t thread;

    (void)arguments;
    filter(SYS_uname, SECCOMP_RET_KILL_THREAD, 0);
    for (int i = 0; i < 10; i++) {
        start_thread(call_in_thread, "not reached");
        sleep_ms(2);
    }
    pthread_create(&thread, NULL, call_in_thread, "nor this");
    pthread_join(thread, NULL);
    SAY("the others live\n");
    return 0;
}

static volatile int is_filtered;

static void *wait_for_filter(void *argument)
{
    while (!is_filtered)
        sleep_ms(1);
    return call_in_thread(argument);
}

static int for_all_threads(char **arguments)
{
    pthread_t threads[3];

    (void)arguments;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, wait_for_filter, "other thread");
    filter(SYS_uname, SECCOMP_RET_ERRNO | ENOTTY, SECCOMP_FILTER_FLAG_TSYNC);
    is_filtered = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static void *answer(void *argument)
{
    const int fd = *(int *)argument;
    struct seccomp_notif question;
    struct seccomp_notif_resp response;

    for (int i = 0; i < 50; i++) {
        memset(&question, 0, sizeof(question));
        memset(&response, 0, sizeof(response));
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0)
            fail("cannot receive");
        response.id = question.id;
        response.error = -ENOTTY;
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0)
            fail("cannot answer");
    }
    return NULL;
}

static void *ask(void *argument)
{
    int *fd = argument, n_answered = 0;

    *fd = filter(SYS_uname, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    for (int i = 0; i < 50; i++)
        n_answered += filtered_call() < 0 && errno == ENOTTY;
    SAY("%d were answered\n", n_answered);
    return NULL;
}

/* A supervisor, here another thread, answers for the kernel. */
static int supervised(char **arguments)
{
    volatile int fd = -1;
    pthread_t asking, answering;

    (void)arguments;
    pthread_create(&asking, NULL, ask, (void *)&fd);
    while (fd < 0)
        sleep_ms(1);
    pthread_create(&answering, NULL, answer, (void *)&fd);
    pthread_join(asking, NULL);
    pthread_join(answering, NULL);
    return 0;
}

/* As many sandboxes do. */
static int without_ptrace(char **arguments)
{
    (void)arguments;
    filter(SYS_ptrace, SECCOMP_RET_ERRNO | EPERM, 0);
    SAY("ptrace: %s\n", ptrace(PTRACE_TRACEME) < 0 ? strerror(errno) : "allowed");
    filter(SYS_seccomp, SECCOMP_RET_ERRNO | EPERM, 0);
    if (forked() == 0) {
        SAY("ptrace: %s\n", ptrace(PTRACE_TRACEME) < 0 ? strerror(errno) : "allowed");
        crash_here();
    }
    say_wait("child", -1, 0);
    return 0;
}

static int trap_crash(char **arguments)
{
    (void)arguments;
    filter(SYS_uname, SECCOMP_RET_TRAP, 0);
    return (int)filtered_call();
}

static int kill_crash(char **arguments)
{
    (void)arguments;
    start_thread(wait_for_filter, "not reached");
    filter(SYS_uname, SECCOMP_RET_KILL_PROCESS, 0);
    return (int)filtered_call();
}

static int kill_last_thread(char **arguments)
{
    (void)arguments;
    filter(SYS_uname, SECCOMP_RET_KILL_THREAD, 0);
    return (int)filtered_call();
}

const struct mode seccomp_modes[] = {
    {"seccomp-strict", "", strict},
    {"seccomp-errno", "", errnos},
    {"seccomp-trace", "", traces},
    {"seccomp-trap", "", traps},
    {"seccomp-kill-thread", "", kills_thread},
    {"seccomp-tsync", "", for_all_threads},
    {"seccomp-notify", "", supervised},
    {"seccomp-no-ptrace", "", without_ptrace},
    {"crash-seccomp-trap", "", trap_crash},
    {"crash-seccomp-process", "", kill_crash},
    {"crash-seccomp-thread", "", kill_last_thread},
    {NULL, NULL, NULL},
};
