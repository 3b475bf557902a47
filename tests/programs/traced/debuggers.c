/* A program that itself uses ptrace(2): debuggers, crash reporters, leak checkers. */

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "traced.h"

static long secret = 0x5ec7e7;

static void say_ptrace(const char *what, long r)
{
    SAY("%s: %s\n", what, r < 0 ? strerrorname_np(errno) : "done");
}

static bool has_registers(pid_t tid)
{
    struct user_regs_struct registers;
    struct iovec room = {&registers, sizeof(registers)};

    return ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &room) == 0 &&
           room.iov_len == sizeof(registers);
}

/* The child of strace(1) and gdb(1): lets itself be traced, stops, executes, ends. */
static int traceme(char **arguments)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    int status, n_calls = 0, signo = 0;
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0) {
        char *argv[] = {"traced", "executed", "1", NULL};

        say_ptrace("traceme", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        say_ptrace("traceme again", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        raise(SIGSTOP);
        signal(SIGUSR1, SIG_IGN);
        raise(SIGUSR1);
        raise(SIGUSR2); /* which its tracer keeps from it */
        execv("/proc/self/exe", argv);
        _exit(98);
    }
    say_wait("tracee", pid, 0);
    say_ptrace("options", ptrace(PTRACE_SETOPTIONS, pid, 0, options));
    say_ptrace("peek", ptrace(PTRACE_PEEKDATA, pid, &secret, NULL) == secret ? 0 : -1);
    SAY("registers: %d\n", has_registers(pid));
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, pid, 0, (long)signo) < 0)
            fail("PTRACE_SYSCALL");
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            break;
        signo = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            n_calls++;
            continue;
        }
        SAY("stop %#x\n", status >> 8);
        if (status >> 16 == 0 && WSTOPSIG(status) != SIGUSR2)
            signo = WSTOPSIG(status);
    }
    SAY("tracee %s %d, made system calls: %d\n", WIFEXITED(status) ? "exited" : "?",
        WEXITSTATUS(status), n_calls > 20);
    return 0;
}

/* The tracee crashes: its tracer is the one to know. */
static int tracee_crash(char **arguments)
{
    siginfo_t info;
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        crash_here();
    }
    say_wait("tracee", pid, 0);
    say_ptrace("siginfo", ptrace(PTRACE_GETSIGINFO, pid, NULL, &info));
    SAY("signal %d code %d\n", info.si_signo, info.si_code);
    ptrace(PTRACE_CONT, pid, NULL, (long)SIGSEGV);
    say_wait("tracee", pid, 0);
    return 0;
}

/* A child that counts, and ends on its own; it has begun. */
static pid_t counting(volatile int *counter)
{
    pid_t pid = forked();

    if (pid == 0)
        for (;;) {
            sleep_ms(1);
            if (++*counter > 200)
                _exit(7);
        }
    moves(counter, 0);
    return pid;
}

/* A child that is seized while it runs, interrupted, read, let go, and ends on its own. */
static int seize(char **arguments)
{
    volatile int *counter = shared(sizeof(int));
    pid_t pid = counting(counter);

    (void)arguments;
    say_ptrace("seize", ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD));
    say_ptrace("seize again", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    say_ptrace("interrupt", ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
    say_wait("tracee", pid, __WALL);
    SAY("registers: %d\n", has_registers(pid));
    say_ptrace("cont", ptrace(PTRACE_CONT, pid, NULL, NULL));
    kill(pid, SIGSTOP);
    say_wait("tracee", pid, __WALL);
    say_ptrace("cont", ptrace(PTRACE_CONT, pid, NULL, (void *)(long)SIGSTOP));
    say_wait("tracee", pid, __WALL);
    say_ptrace("listen", ptrace(PTRACE_LISTEN, pid, NULL, NULL));
    kill(pid, SIGCONT);
    say_wait("tracee", pid, __WALL);
    say_ptrace("detach", ptrace(PTRACE_DETACH, pid, NULL, NULL));
    say_wait("tracee", pid, 0);
    return 0;
}

static int attach(char **arguments)
{
    volatile int *counter = shared(sizeof(int));
    pid_t pid = counting(counter);

    (void)arguments;
    for (int i = 0; i < 3; i++) {
        say_ptrace("attach", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
        say_wait("tracee", pid, __WALL);
        SAY("registers: %d\n", has_registers(pid));
        say_ptrace("detach", ptrace(PTRACE_DETACH, pid, NULL, NULL));
        SAY("goes on: %d\n", moves(counter, *counter));
    }
    say_wait("tracee", pid, 0);
    return 0;
}

static void *return_at_once(void *argument)
{
    return argument;
}

static void be_busy(void)
{
    pthread_t thread;

    signal(SIGUSR1, SIG_IGN);
    for (;;) {
        raise(SIGUSR1);
        if (fork() == 0)
            _exit(0);
        wait(NULL);
        if (pthread_create(&thread, NULL, return_at_once, NULL) == 0)
            pthread_join(thread, NULL);
    }
}

/* Attaches to what makes threads and processes, gets signals and is stopped meanwhile. */
static int attach_to_busy(char **arguments)
{
    const int count = atoi(arguments[0]);
    int n_attached = 0, n_killed = 0, status;

    for (int i = 0; i < count; i++) {
        pid_t pid = forked();

        if (pid == 0)
            be_busy();
        usleep((useconds_t)(i % 20) * 250);
        kill(pid, SIGSTOP);
        kill(pid, SIGCONT);
        if (ptrace(i % 2 ? PTRACE_ATTACH : PTRACE_SEIZE, pid, NULL, NULL) == 0 &&
            (i % 2 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0) &&
            waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) && has_registers(pid) &&
            ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0)
            n_attached++;
        kill(pid, SIGKILL);
        n_killed += waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
    }
    SAY("%d attached, %d killed\n", n_attached, n_killed);
    return 0;
}

static int refused(char **arguments)
{
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0)
        nothing(NULL);
    say_ptrace("peek of a stranger", ptrace(PTRACE_PEEKDATA, pid, &secret, NULL));
    say_ptrace("cont of a stranger", ptrace(PTRACE_CONT, pid, NULL, NULL));
    say_ptrace("attach to oneself", ptrace(PTRACE_ATTACH, getpid(), NULL, NULL));
    say_ptrace("attach to nobody", ptrace(PTRACE_ATTACH, 4000000, NULL, NULL));
    say_ptrace("attach to pid 0", ptrace(PTRACE_ATTACH, 0, NULL, NULL));
    say_ptrace("an unknown request", ptrace((enum __ptrace_request)0x7777, pid, NULL, NULL));
    kill(pid, SIGKILL);
    say_wait("stranger", pid, 0);
    return 0;
}

/* Stops all threads of a process, reads, lets go: as breakpad and LeakSanitizer do. */
static int read_process(pid_t pid)
{
    int n_threads = 0, n_read = 0;
    char path[64];
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    tasks = opendir(path);
    while (tasks && (entry = readdir(tasks))) {
        pid_t tid = atoi(entry->d_name);

        if (tid <= 0)
            continue;
        n_threads++;
        if (ptrace(PTRACE_ATTACH, tid, NULL, NULL) < 0) {
            say_ptrace("attach", -1);
            continue;
        }
        say_wait("thread", tid, __WALL);
        n_read += has_registers(tid) && ptrace(PTRACE_PEEKDATA, tid, &secret, NULL) == secret;
        say_ptrace("detach", ptrace(PTRACE_DETACH, tid, NULL, NULL));
    }
    closedir(tasks);
    SAY("%d of %d threads were read\n", n_read, n_threads);
    return n_read != n_threads;
}

static void start_some_threads(void)
{
    for (int i = 0; i < 3; i++)
        start_thread(nothing, NULL);
}

/* A forked child reads its parent. */
static int parent_read(char **arguments)
{
    int ready[2];
    pid_t pid;

    (void)arguments;
    if (pipe(ready) < 0)
        fail("pipe");
    start_some_threads();
    pid = forked();
    if (pid == 0) {
        char byte;

        read(ready[0], &byte, 1);
        _exit(read_process(getppid()));
    }
    prctl(PR_SET_PTRACER, pid);
    write(ready[1], "r", 1);
    say_wait("reader", pid, 0);
    say_wait("a further child", forked() ?: (_exit(3), 0), 0);
    return 0;
}

static int read_in_clone(void *argument)
{
    return read_process(*(pid_t *)argument);
}

static pid_t start_reader(int flags)
{
    static char stack[256 * 1024] __attribute__((aligned(16)));
    static pid_t pid;
    pid_t reader;

    pid = getpid();
    reader = clone(read_in_clone, stack + sizeof(stack), flags, &pid);
    if (reader < 0)
        fail("clone");
    prctl(PR_SET_PTRACER, reader);
    return reader;
}

/* LeakSanitizer's: a process of the same memory, which no tracer is to follow. */
static int untraced_reader(char **arguments)
{
    (void)arguments;
    start_some_threads();
    say_wait("reader", start_reader(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED), __WALL);
    return 0;
}

/* breakpad's: from its handler; then the default action. */
static void report_and_return(int signo)
{
    static const char line[] = "reporting\n";

    write(STDOUT_FILENO, line, sizeof(line) - 1);
    say_wait("reader", start_reader(CLONE_FS | CLONE_UNTRACED), __WALL);
    signal(signo, SIG_DFL);
}

static int reporter(char **arguments)
{
    (void)arguments;
    start_some_threads();
    signal(SIGSEGV, report_and_return);
    return crash_here();
}

const struct mode ptrace_modes[] = {
    {"ptrace-traceme", "", traceme},
    {"ptrace-tracee-crash", "", tracee_crash},
    {"ptrace-seize", "", seize},
    {"ptrace-attach", "", attach},
    {"ptrace-busy", "COUNT", attach_to_busy},
    {"ptrace-refused", "", refused},
    {"ptrace-parent", "", parent_read},
    {"ptrace-untraced", "", untraced_reader},
    {"crash-reporter", "", reporter},
    {NULL, NULL, NULL},
};
