/* Children of every kind, how they end, and who gets to know. */

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "traced.h"

extern char **environ;

static int end(char **arguments)
{
    end_as(atoi(arguments[0]));
}

static void exec_self(char *mode, char *argument) __attribute__((noreturn));

static void exec_self(char *mode, char *argument)
{
    char *argv[] = {"traced", mode, argument, NULL};

    execv("/proc/self/exe", argv);
    fail("cannot execute itself");
}

static void *end_of_thread(void *how)
{
    end_as((int)(intptr_t)how);
}

static int end_in_clone(void *how)
{
    end_as((int)(intptr_t)how);
}

static pid_t by_fork(int how)
{
    pid_t pid = forked();

    if (pid == 0)
        end_as(how);
    return pid;
}

static pid_t by_vfork(int how)
{
    pid_t pid;

    pid = vfork();
    if (pid == 0)
        end_as(how);
    return pid;
}

static pid_t by_vfork_exec(int how)
{
    char text[16];
    char *argv[] = {"traced", "end", text, NULL};
    pid_t pid;

    snprintf(text, sizeof(text), "%d", how);
    pid = vfork();
    if (pid == 0) {
        execv("/proc/self/exe", argv);
        _exit(98);
    }
    return pid;
}

static pid_t by_spawn(int how)
{
    char text[16];
    char *argv[] = {"traced", "end", text, NULL};
    pid_t pid;

    snprintf(text, sizeof(text), "%d", how);
    errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
    if (errno != 0)
        fail("posix_spawn");
    return pid;
}

static pid_t by_clone(int how, int clone_flags)
{
    static char stack[4][64 * 1024] __attribute__((aligned(16)));
    static unsigned n;
    char *top = stack[++n % 4] + sizeof(stack[0]);
    pid_t pid = clone(end_in_clone, top, clone_flags, (void *)(intptr_t)how);

    if (pid < 0)
        fail("clone");
    return pid;
}

static pid_t by_clone_vm(int how)
{
    return by_clone(how, CLONE_VM | SIGCHLD);
}

static pid_t by_clone_vm_vfork(int how)
{
    return by_clone(how, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD);
}

/* A process that ends without telling its parent: waited for with __WCLONE or __WALL. */
static pid_t by_silent_clone(int how)
{
    return by_clone(how, CLONE_FS | CLONE_FILES);
}

static pid_t by_usr1_clone(int how)
{
    return by_clone(how, SIGUSR1);
}

static pid_t by_untraced_clone(int how)
{
    return by_clone(how, CLONE_UNTRACED | SIGCHLD);
}

static pid_t by_clone3(int how)
{
    struct clone_args clone_args = {.exit_signal = SIGCHLD, .flags = CLONE_CLEAR_SIGHAND};
    long pid = syscall(SYS_clone3, &clone_args, sizeof(clone_args));

    if (pid < 0)
        fail("clone3");
    if (pid == 0)
        end_as(how);
    return (pid_t)pid;
}

/* Its thread ends it, while the leader sleeps. */
static pid_t by_thread_of_fork(int how)
{
    pid_t pid = forked();

    if (pid == 0) {
        start_thread(end_of_thread, (void *)(intptr_t)how);
        for (;;)
            pause();
    }
    return pid;
}

static pid_t by_sibling(int how)
{
    return by_clone(how, CLONE_PARENT | SIGCHLD);
}

static const struct {
    const char *name;
    pid_t (*make)(int how);
} makers[] = {
    {"fork", by_fork},
    {"vfork", by_vfork},
    {"vfork and exec", by_vfork_exec},
    {"posix_spawn", by_spawn},
    {"clone(VM)", by_clone_vm},
    {"clone(VM|VFORK)", by_clone_vm_vfork},
    {"clone() without a signal", by_silent_clone},
    {"clone(SIGUSR1)", by_usr1_clone},
    {"clone(UNTRACED)", by_untraced_clone},
    {"clone3", by_clone3},
    {"fork's thread", by_thread_of_fork},
};

static volatile int n_usr1;

static void count_usr1(int signo)
{
    (void)signo;
    n_usr1++;
}

static int children(char **arguments)
{
    static const int ends[] = {0, 1, 42, 255, -SIGHUP, -SIGTERM, -SIGKILL, -SIGPIPE, -SIGALRM, -63};

    (void)arguments;
    signal(SIGUSR1, count_usr1);
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
        for (size_t n = 0; n < sizeof(ends) / sizeof(ends[0]); n++)
            say_wait(makers[i].name, makers[i].make(ends[n]), __WALL);
    SAY("SIGUSR1 told of %d\n", n_usr1);
    say_wait("no more", -1, __WALL);
    return 0;
}

/* A child of the program's parent, that is coreinit; it ends unseen by the program. */
static int sibling(char **arguments)
{
    int ends[2];
    char byte;
    pid_t pid;

    (void)arguments;
    if (pipe(ends) < 0)
        fail("pipe");
    pid = by_sibling(0);
    close(ends[1]);
    read(ends[0], &byte, 1);
    say_wait("sibling", pid, 0);
    return 0;
}

/* The ways to wait: for a group, any child, a pidfd, from another thread, without waiting. */
static void *wait_in_thread(void *argument)
{
    say_wait("from another thread", *(pid_t *)argument, 0);
    return NULL;
}

static int waits(char **arguments)
{
    struct pollfd pidfd = {.events = POLLIN};
    siginfo_t info;
    pthread_t thread;
    char byte;
    int hold[2];
    pid_t pid;

    (void)arguments;
    if (pipe(hold) < 0)
        fail("pipe");
    pid = forked();
    if (pid == 0) {
        close(hold[1]);
        read(hold[0], &byte, 1);
        _exit(9);
    }
    pidfd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    say_wait("alive", pid, WNOHANG);
    SAY("pidfd of the living: %d\n", poll(&pidfd, 1, 20));
    close(hold[1]);
    SAY("pidfd of the dead: %d\n", poll(&pidfd, 1, 10000));
    (void)waitid(P_PIDFD, (id_t)pidfd.fd, &info, WEXITED | WNOWAIT);
    SAY("code %d status %d\n", info.si_code, info.si_status);
    SAY("its group: %s\n", waitid(P_PGID, 0, &info, WEXITED) < 0 ? strerror(errno) : "waited");
    SAY("again: %s\n", waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 ? strerror(errno) : "waited");

    pid = by_fork(4);
    pthread_create(&thread, NULL, wait_in_thread, &pid);
    pthread_join(thread, NULL);
    say_wait("with __WNOTHREAD", by_fork(5), __WNOTHREAD);
    say_wait("with __WCLONE", by_silent_clone(6), __WCLONE);
    SAY("system: %#x\n", system("exit 7"));
    SAY("pclose: %#x\n", pclose(popen("exit 8", "r")));
    return 0;
}

static int exec_chain(char **arguments)
{
    int left = atoi(arguments[0]);
    char text[16];

    if (left == 0)
        return 5;
    snprintf(text, sizeof(text), "%d", left - 1);
    exec_self("exec-chain", text);
}

static void *exec_in_thread(void *argument)
{
    char pid[16], *argv[] = {"traced", "executed", pid, NULL};

    snprintf(pid, sizeof(pid), "%d", getpid());
    execv("/nonexistent/program", argv);
    SAY("exec of nothing: %s\n", strerror(errno));
    execv(argument, argv);
    fail("cannot execute itself");
}

/* After an exec from any thread: one thread, of the same pid. */
static int executed(char **arguments)
{
    sigset_t pending;

    SAY("the pid is the same: %d, and the leader's: %d\n", atoi(arguments[0]) == getpid(),
        getpid() == own_tid());
    sigpending(&pending);
    SAY("still pending: %d\n", sigismember(&pending, SIGUSR1));
    say_wait("a child", by_fork(3), 0);
    start_thread(nothing, NULL);
    return 6;
}

/* Its other threads sleep, run, and make processes when it happens. */
static void *fork_for_ever(void *argument)
{
    (void)argument;
    for (;;)
        if (by_fork(0) > 0)
            wait(NULL);
    return NULL;
}

static void *run_for_ever(void *argument)
{
    for (volatile unsigned *counter = argument;; (*counter)++)
        ;
    return NULL;
}

static int exec_from_thread(char **arguments)
{
    static unsigned counter;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 20; i++)
        start_thread(nothing, NULL);
    if (strcmp(arguments[0], "busy") == 0) {
        start_thread(run_for_ever, &counter);
        start_thread(fork_for_ever, NULL);
        sleep_ms(20);
    }
    if (strcmp(arguments[0], "leader-gone") != 0) {
        start_thread(exec_in_thread, "/proc/thread-self/exe");
        nothing(NULL);
    }
    start_thread(exec_in_thread, "/proc/thread-self/exe"); /* the leader's is gone with it */
    pthread_exit(NULL);
}

/* A child whose threads exec at the same time: one wins, the pid stays. */
static void *exec_at_once(void *argument)
{
    static pthread_barrier_t *barrier;

    barrier = argument;
    pthread_barrier_wait(barrier);
    exec_self("end", "11");
}

static int exec_race(char **arguments)
{
    for (int i = atoi(arguments[0]); i > 0; i--) {
        pid_t pid = forked();

        if (pid == 0) {
            static pthread_barrier_t barrier;

            pthread_barrier_init(&barrier, NULL, 4);
            for (int n = 0; n < 4; n++)
                start_thread(exec_at_once, &barrier);
            nothing(NULL);
        }
        say_wait("racer", pid, 0);
    }
    return 0;
}

/* A daemon, once its first parent is gone and @go says that this was seen. */
static void be_daemon(pid_t parent, pid_t init, const int *go)
{
    char byte;

    close(go[1]);
    read(go[0], &byte, 1);
    while (getppid() == parent)
        sleep_ms(1);
    SAY("the daemon's parent is the init: %d\n", getppid() == init);
    SAY("its session is that of its parent: %d\n", getsid(0) == parent);
    say_wait("its child", by_fork(4), 0);
    _exit(0);
}

/* Double fork with setsid(); the program goes on once the daemon has ended. */
static int daemons(char **arguments)
{
    const pid_t init = getppid();
    int ends[2], go[2];
    char byte;

    (void)arguments;
    for (int i = 0; i < 3; i++) {
        pid_t pid;

        if (pipe(ends) < 0 || pipe(go) < 0)
            fail("pipe");
        pid = forked();
        if (pid == 0) {
            pid = setsid();
            if (forked() == 0)
                be_daemon(pid, init, go);
            _exit(0);
        }
        close(ends[1]);
        say_wait("first fork", pid, 0);
        close(go[1]);
        SAY("the daemon has ended: %d\n", (int)read(ends[0], &byte, 1));
        close(ends[0]);
        close(go[0]);
    }
    return 0;
}

static int subreaper(char **arguments)
{
    pid_t pid;
    int status;

    (void)arguments;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid = forked();
    if (pid == 0) {
        for (int i = 0; i < 5; i++)
            if (forked() == 0) {
                while (getppid() == pid)
                    sleep_ms(1);
                sleep_ms(50u * (unsigned)(i + 1));
                end_as(i % 2 ? 20 + i : -SIGTERM);
            }
        _exit(1);
    }
    say_wait("parent", pid, 0);
    while (wait(&status) > 0) {
        char text[64];

        SAY("orphan %s\n", status_text(status, text, sizeof(text)));
    }
    SAY("then: %s\n", strerror(errno));
    return 0;
}

static int parent_death(char **arguments)
{
    static const int ends[] = {SIGUSR1, SIGKILL};

    (void)arguments;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < 2; i++) {
        int ready[2];
        pid_t pid;

        if (pipe(ready) < 0)
            fail("pipe");
        pid = forked();
        if (pid == 0) {
            char byte;

            if (forked() == 0) {
                prctl(PR_SET_PDEATHSIG, ends[i]);
                write(ready[1], "r", 1);
                for (;;)
                    pause();
            }
            read(ready[0], &byte, 1);
            _exit(2);
        }
        say_wait("parent", pid, 0);
        say_wait("its child", -1, 0);
    }
    return 0;
}

static int sessions(char **arguments)
{
    const pid_t session = getsid(0), own_group = getpgrp();
    pid_t pid = forked();

    (void)arguments;
    if (pid == 0) {
        SAY("inherits session %d, group %d\n", getsid(0) == session, getpgrp() == own_group);
        SAY("setpgid: %d\n", setpgid(0, 0));
        SAY("a leader's setsid: %s\n", setsid() < 0 ? strerror(errno) : "?");
        if (forked() == 0) {
            SAY("setsid: %d\n", setsid() == getpid());
            SAY("group %d session %d\n", getpgrp() == getpid(), getsid(0) == getpid());
            SAY("setpgid in vain: %s\n", setpgid(0, own_group) < 0 ? strerror(errno) : "?");
            _exit(0);
        }
        wait(NULL);
        _exit(0);
    }
    say_wait("child", pid, 0);
    SAY("leads its group: %d\n", getpgrp() == getpid());
    return 0;
}

/* kill(-1) reaches all but the sender and the namespace's init. */
static int kill_all(char **arguments)
{
    pid_t pids[5];

    (void)arguments;
    for (int i = 0; i < 5; i++) {
        pids[i] = forked();
        if (pids[i] == 0)
            nothing(NULL);
    }
    SAY("kill: %d\n", kill(-1, SIGTERM));
    for (int i = 0; i < 5; i++)
        say_wait("child", pids[i], 0);
    return 0;
}

/* Some at once, as `make -j` has them. */
static int many_children(char **arguments)
{
    const int count = atoi(arguments[0]);
    int n_right = 0, status;

    for (int i = 0; i < count; i += 4) {
        by_fork(i & 0x3f);
        by_vfork(i & 0x3f);
        by_clone_vm(i & 0x3f);
        by_clone3(i & 0x3f);
        for (int n = 0; n < 4; n++)
            n_right += wait(&status) > 0 && status == (i & 0x3f) << 8;
    }
    SAY("%d children\n", n_right);
    return 0;
}

/* What a process can read about itself; a tracer and a filter of its own may show. */
static int self(char **arguments)
{
    static const char *const lines[] = {"Name",   "Umask",  "Ngid",    "Uid",       "Gid",
                                        "FDSize", "Groups", "Threads", "SigPnd",    "ShdPnd",
                                        "SigBlk", "SigIgn", "SigCgt",  "CapInh",    "CapPrm",
                                        "CapEff", "CapBnd", "CapAmb",  "NoNewPrivs"};
    char line[512], name[64];
    FILE *file = fopen("/proc/self/status", "re");
    int is_subreaper = 0;

    (void)arguments;
    while (file && fgets(line, sizeof(line), file))
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
            if (sscanf(line, "%63[^:]", name) == 1 && strcmp(name, lines[i]) == 0)
                SAY("%s", line);
    fclose(file);
    prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper);
    SAY("dumpable %d, subreaper %d\n", prctl(PR_GET_DUMPABLE), is_subreaper);
    for (int fd = 3; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            SAY("descriptor %d is open\n", fd);
    return 0;
}

/* For a copy of this program with the set-user-ID bit. */
static int user(char **arguments)
{
    (void)arguments;
    SAY("uid %d euid %d\n", getuid(), geteuid());
    return 0;
}

const struct mode process_modes[] = {
    {"end", "HOW", end},
    {"children", "", children},
    {"sibling", "", sibling},
    {"waits", "", waits},
    {"exec-chain", "COUNT", exec_chain},
    {"executed", "PID", executed},
    {"exec-from-thread", "idle|busy|leader-gone", exec_from_thread},
    {"exec-race", "COUNT", exec_race},
    {"daemons", "", daemons},
    {"subreaper", "", subreaper},
    {"parent-death", "", parent_death},
    {"sessions", "", sessions},
    {"kill-all", "", kill_all},
    {"many-children", "COUNT", many_children},
    {"self", "", self},
    {"user", "", user},
    {NULL, NULL, NULL},
};
