/* Deaths that leave a core, those that nearly do, and what goes on around them. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "traced.h"

static void *crash(void *argument)
{
    (void)argument;
    crash_here();
    return NULL;
}

static void *do_abort(void *argument)
{
    (void)argument;
    abort();
}

/*
 * One worker after the other ends by each signal, in turn its own and one that is sent; the parent
 * lives on and tells how.
 */
static int workers(char **arguments)
{
    for (int i = 0; arguments[i]; i++) {
        const int signo = atoi(arguments[i]);
        pid_t pid = forked();

        if (pid == 0 && i % 2 == 0)
            end_as(-signo);
        if (pid == 0)
            nothing(NULL);
        if (i % 2)
            kill(pid, signo);
        say_wait("worker", pid, 0);
    }
    return 0;
}

static int workers_abort(char **arguments)
{
    for (int i = atoi(arguments[0]); i > 0; i--) {
        pid_t pid = forked();

        if (pid == 0)
            abort();
        say_wait("worker", pid, 0);
    }
    return 0;
}

/* Blocked and pending; then the signal is let in. */
static int blocked(char **arguments)
{
    const int signo = atoi(arguments[0]);
    sigset_t set, pending;

    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), signo);
    sigpending(&pending);
    SAY("pending: %d\n", sigismember(&pending, signo));
    say_wait("a child", forked() ?: (_exit(3), 0), 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    SAY("alive\n");
    return 0;
}

/* A fault is fatal however its signal is blocked or ignored. */
static int fault_blocked(char **arguments)
{
    sigset_t set;

    (void)arguments;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return crash_here();
}

static int fault_ignored(char **arguments)
{
    (void)arguments;
    signal(SIGSEGV, SIG_IGN);
    return crash_here();
}

static void reset_and_return(int signo)
{
    SAY("handled\n");
    signal(signo, SIG_DFL);
}

static int refault(char **arguments)
{
    (void)arguments;
    signal(SIGSEGV, reset_and_return);
    return crash_here();
}

static void only_say(int signo)
{
    (void)signo;
    SAY("handled\n");
}

static int reset_hand(char **arguments)
{
    struct sigaction action = {.sa_handler = only_say, .sa_flags = (int)SA_RESETHAND};

    (void)arguments;
    sigaction(SIGSEGV, &action, NULL);
    return crash_here();
}

static void fault_again(int signo)
{
    (void)signo;
    SAY("handled\n");
    crash_here();
}

static int fault_in_handler(char **arguments)
{
    (void)arguments;
    signal(SIGSEGV, fault_again);
    return crash_here();
}

static void raise_again(int signo)
{
    sigset_t set;

    SAY("handled\n");
    signal(signo, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signo);
}

static int handler_raises(char **arguments)
{
    (void)arguments;
    signal(SIGSEGV, raise_again);
    return crash_here();
}

NOINLINE int recurse(int depth);

int recurse(int depth)
{
    volatile char frame[256];

    frame[0] = (char)depth;
    if (depth < 0)
        return 0;
    return recurse(depth + 1) + frame[0];
}

static void *overflow(void *argument)
{
    (void)argument;
    recurse(0);
    return NULL;
}

/* The handler can't run on a stack that is full: the kernel makes it fatal. */
static int overflow_handled(char **arguments)
{
    (void)arguments;
    signal(SIGSEGV, only_say);
    return recurse(0);
}

static volatile char *page;
static volatile int n_fixed, n_disturbed;

static void make_writable(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    if (info->si_addr != page || mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) < 0)
        _exit(97);
    n_fixed++;
}

static void take_note(int signo)
{
    (void)signo;
    n_disturbed++;
}

static void *disturb(void *thread)
{
    for (;;) {
        pthread_kill(*(pthread_t *)thread, SIGURG);
        usleep(200);
    }
    return NULL;
}

/* A runtime that lives on SIGSEGV (garbage collectors, null checks) and SIGURG (Go's scheduler). */
static int fixups(char **arguments)
{
    static pthread_t self;
    struct sigaction action = {.sa_sigaction = make_writable,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

    sigfillset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    signal(SIGURG, take_note);
    self = pthread_self();
    start_thread(disturb, &self);
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = atoi(arguments[0]); i > 0; i--) {
        mprotect((void *)page, 4096, PROT_NONE);
        *page = 1;
    }
    SAY("%d faults were fixed; disturbed: %d\n", n_fixed, n_disturbed > 0);
    return 0;
}

/* Limits whose excess is a crash. */
static int cpu_limit(char **arguments)
{
    struct rlimit limit = {1, 10};

    (void)arguments;
    setrlimit(RLIMIT_CPU, &limit);
    for (volatile unsigned i = 0;; i++)
        ;
    return 0;
}

static int file_limit(char **arguments)
{
    struct rlimit limit = {4096, 4096};
    int fd = open(arguments[0], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char block[4096] = "";

    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 3; i++)
        SAY("wrote %zd\n", write(fd, block, sizeof(block)));
    return 0;
}

static int in_thread(char **arguments)
{
    static const struct {
        const char *name;
        void *(*run)(void *);
    } ways[] = {{"segv", crash}, {"abort", do_abort}, {"overflow", overflow}};
    pthread_t thread;

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(arguments[0], ways[i].name) == 0) {
            pthread_create(&thread, NULL, ways[i].run, NULL);
            pthread_join(thread, NULL);
        }
    return 0;
}

static int in_vfork(char **arguments)
{
    pid_t pid;

    (void)arguments;
    pid = vfork();
    if (pid == 0)
        _exit(crash_here());
    say_wait("child", pid, 0);
    return 0;
}

static int after_exec(char **arguments)
{
    char *argv[] = {"traced", "crash", "now", NULL};

    (void)arguments;
    start_thread(nothing, NULL);
    execv("/proc/self/exe", argv);
    return 98;
}

static void *exec_to_crash(void *argument)
{
    char *argv[] = {"traced", "crash", "now", NULL};

    (void)argument;
    execv("/proc/self/exe", argv);
    return NULL;
}

static int after_thread_exec(char **arguments)
{
    (void)arguments;
    start_thread(nothing, NULL);
    start_thread(exec_to_crash, NULL);
    nothing(NULL);
    return 98;
}

static int now(char **arguments)
{
    (void)arguments;
    return crash_here();
}

static pthread_barrier_t barrier;

static void *crash_together(void *argument)
{
    pthread_barrier_wait(&barrier);
    return crash(argument);
}

static int many_at_once(char **arguments)
{
    const int count = atoi(arguments[0]);

    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    for (int i = 1; i < count; i++)
        start_thread(crash_together, NULL);
    crash_together(NULL);
    return 0;
}

static void *end_at_once(void *argument)
{
    return argument;
}

static void *thread_for_ever(void *argument)
{
    for (;;) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, end_at_once, argument) == 0)
            pthread_join(thread, NULL);
    }
    return NULL;
}

static void *fork_for_ever(void *argument)
{
    (void)argument;
    for (;;) {
        int status;
        pid_t pid = forked();

        if (pid == 0)
            _exit(0);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
}

static void *vfork_for_ever(void *argument)
{
    (void)argument;
    for (;;) {
        pid_t pid = vfork();

        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
    }
}

/* The other threads make threads and processes as fast as they can. */
static int busy(char **arguments)
{
    void *(*const runs[])(void *) = {thread_for_ever, thread_for_ever, fork_for_ever,
                                     vfork_for_ever};

    (void)arguments;
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        start_thread(runs[i], NULL);
    sleep_ms(50);
    return crash_here();
}

/* A worker crashes while it is stopped and continued. */
static int while_stopped(char **arguments)
{
    for (int i = atoi(arguments[0]); i > 0; i--) {
        pid_t pid = forked();

        if (pid == 0) {
            start_thread(nothing, NULL);
            usleep((useconds_t)(i * 100));
            crash_here();
        }
        usleep(300);
        kill(pid, SIGSTOP);
        usleep(500);
        kill(pid, SIGCONT);
        say_wait("worker", pid, 0);
    }
    return 0;
}

/* It is stopped first, and gets its signal then; SIGCONT lets it die. */
static int stopped_first(char **arguments)
{
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0) {
        start_thread(nothing, NULL);
        nothing(NULL);
    }
    kill(pid, SIGSTOP);
    say_wait("worker", pid, WUNTRACED);
    kill(pid, SIGSEGV);
    sleep_ms(50);
    say_wait("worker", pid, WUNTRACED | WNOHANG);
    kill(pid, SIGCONT);
    say_wait("worker", pid, 0);
    return 0;
}

static void *vfork_and_wait(void *argument)
{
    (void)argument;
    if (vfork() == 0)
        for (;;)
            pause();
    return NULL;
}

/* One thread can't be stopped: it waits for a vfork(2) child that doesn't end. */
static int beside_vfork(char **arguments)
{
    (void)arguments;
    start_thread(vfork_and_wait, NULL);
    sleep_ms(50);
    return crash_here();
}

static int crash_in_clone(void *argument)
{
    (void)argument;
    return crash_here();
}

/* A process that shares its parent's memory. */
static int in_shared_memory(char **arguments)
{
    static char stack[64 * 1024] __attribute__((aligned(16)));

    (void)arguments;
    say_wait("child",
             clone(crash_in_clone, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD, NULL),
             0);
    SAY("the parent lives\n");
    return 0;
}

/* As servers do that start as root; it makes the process undumpable. */
static int after_setuid(char **arguments)
{
    const uid_t id = (uid_t)atoi(arguments[0]);

    if (setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
        fail("cannot change the user");
    return crash_here();
}

/* A daemon crashes once it has another parent; the program waits for that and ends well. */
static int in_daemon(char **arguments)
{
    int ends[2];
    char byte;
    pid_t pid;

    (void)arguments;
    if (pipe(ends) < 0)
        fail("pipe");
    pid = forked();
    if (pid == 0) {
        setsid();
        pid = getpid();
        if (forked() > 0)
            _exit(0);
        while (getppid() == pid)
            sleep_ms(1);
        crash_here();
    }
    close(ends[1]);
    say_wait("first fork", pid, 0);
    SAY("the daemon is gone: %d\n", (int)read(ends[0], &byte, 1));
    sleep_ms(100);
    return 0;
}

/* A worker crashes while its parent, the program, makes other processes. */
static int beside_work(char **arguments)
{
    volatile int *done = shared(sizeof(int));
    int status;
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0) {
        moves(done, 0);
        crash_here();
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        pid_t other = forked();

        if (other == 0)
            _exit(0);
        *done += waitpid(other, NULL, 0) == other;
    }
    SAY("the worker died of %d\n", WTERMSIG(status));
    return 0;
}

const struct mode crash_modes[] = {
    {"workers", "SIGNAL...", workers},
    {"workers-abort", "COUNT", workers_abort},
    {"blocked", "SIGNAL", blocked},
    {"fault-blocked", "", fault_blocked},
    {"fault-ignored", "", fault_ignored},
    {"refault", "", refault},
    {"reset-hand", "", reset_hand},
    {"fault-in-handler", "", fault_in_handler},
    {"handler-raises", "", handler_raises},
    {"overflow-handled", "", overflow_handled},
    {"fixups", "COUNT", fixups},
    {"cpu-limit", "", cpu_limit},
    {"file-limit", "FILE", file_limit},
    {"crash-in-thread", "segv|abort|overflow", in_thread},
    {"crash-in-vfork", "", in_vfork},
    {"crash-after-exec", "", after_exec},
    {"crash-after-thread-exec", "", after_thread_exec},
    {"crash", "now", now},
    {"crash-at-once", "THREADS", many_at_once},
    {"crash-while-busy", "", busy},
    {"crash-while-stopped", "COUNT", while_stopped},
    {"crash-stopped-first", "", stopped_first},
    {"crash-beside-vfork", "", beside_vfork},
    {"crash-in-shared-memory", "", in_shared_memory},
    {"crash-after-setuid", "UID", after_setuid},
    {"crash-in-daemon", "", in_daemon},
    {"crash-beside-work", "", beside_work},
    {NULL, NULL, NULL},
};
