/* Stopping and continuing, as the parent that waits for it sees it. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "traced.h"

/* Of the child, shared with its parent. */
static struct {
    int ticks[2]; /* a thread's each */
    int continued;
} * child;

static void *tick(void *argument)
{
    for (volatile int *counter = argument;; (*counter)++)
        sleep_ms(1);
    return NULL;
}

static void count_continue(int signo)
{
    (void)signo;
    child->continued++;
}

static void stop_oneself(int signo)
{
    (void)signo;
    raise(SIGSTOP);
}

/* A process of two threads in a group of its own that lives until it is killed. */
static pid_t start_child(void)
{
    pid_t pid;

    child = shared(sizeof(*child));
    pid = forked();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCONT, count_continue);
        signal(SIGUSR1, stop_oneself);
        start_thread(tick, &child->ticks[1]);
        tick(&child->ticks[0]);
    }
    setpgid(pid, pid);
    for (int i = 0; i < 2; i++)
        if (!moves(&child->ticks[i], 0))
            fail("a child doesn't start");
    return pid;
}

static void say_moves(void)
{
    for (int i = 0; i < 2; i++)
        SAY("thread %d moves: %d\n", i, moves(&child->ticks[i], child->ticks[i]));
}

static void say_stands(void)
{
    int before[2], moved = 0;

    memcpy(before, child->ticks, sizeof(before));
    sleep_ms(40);
    for (int i = 0; i < 2; i++)
        moved += before[i] != child->ticks[i];
    SAY("threads that move: %d\n", moved);
}

static int stopped(char **arguments)
{
    static const int ways[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1};

    (void)arguments;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        pid_t pid = start_child();

        kill(pid, ways[i]);
        say_wait("child", pid, WUNTRACED);
        say_stands();
        say_wait("child", pid, WUNTRACED | WCONTINUED | WNOHANG);
        kill(pid, SIGCONT);
        say_wait("child", pid, WUNTRACED | WCONTINUED);
        say_moves();
        SAY("SIGCONT was handled %d times\n", child->continued);
        kill(pid, SIGTERM);
        say_wait("child", pid, WUNTRACED | WCONTINUED);
    }
    return 0;
}

/* What a stopped process is sent waits for SIGCONT, but SIGKILL doesn't. */
static int killed_while_stopped(char **arguments)
{
    pid_t pid = start_child();

    (void)arguments;
    kill(pid, SIGSTOP);
    say_wait("child", pid, WUNTRACED);
    kill(pid, SIGTERM);
    kill(pid, SIGSTOP);
    sleep_ms(50);
    say_wait("child with SIGTERM", pid, WNOHANG);
    kill(pid, SIGCONT);
    say_wait("child with SIGCONT", pid, 0);

    pid = start_child();
    kill(pid, SIGSTOP);
    say_wait("child", pid, WUNTRACED);
    kill(pid, SIGKILL);
    say_wait("child with SIGKILL", pid, 0);
    return 0;
}

static void expect_state(pid_t pid, bool is_stopped)
{
    siginfo_t info = {.si_pid = 0};

    if (is_stopped) {
        say_wait("child", pid, WUNTRACED);
        say_stands();
    } else {
        (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED | WCONTINUED | WNOHANG);
        say_moves();
    }
}

/* SIGSTOP and SIGCONT faster than anyone reacts to them; what came last holds. */
static int stop_storm(char **arguments)
{
    const int count = atoi(arguments[0]);
    pid_t pid = start_child();

    for (int i = 0; i < count; i++) {
        kill(pid, SIGSTOP);
        if (i % 3 == 0)
            usleep(100);
        kill(pid, SIGCONT);
    }
    expect_state(pid, false);
    for (int i = 0; i < count; i++) {
        kill(pid, SIGCONT);
        if (i % 5 == 0)
            usleep(100);
        kill(pid, SIGSTOP);
        if (i % 50 == 0) {
            expect_state(pid, true);
            kill(pid, SIGKILL);
            say_wait("child", pid, 0);
            pid = start_child();
        }
    }
    expect_state(pid, true);
    kill(pid, SIGCONT);
    expect_state(pid, false);
    kill(pid, SIGKILL);
    say_wait("child", pid, 0);
    return 0;
}

static void expect_child(const sigset_t *set, pid_t pid, const char *what)
{
    struct timespec patience = {10, 0};
    siginfo_t info = {.si_pid = 0};
    int signo;

    do
        signo = sigtimedwait(set, &info, &patience);
    while (signo < 0 && errno == EINTR);
    SAY("%s: signal %d code %d status %d its own %d\n", what, signo, info.si_code, info.si_status,
        info.si_pid == pid);
}

/* The siginfo of SIGCHLD, and waitid(2) that leaves the child as it is. */
static int sigchld(char **arguments)
{
    siginfo_t info = {.si_pid = 0};
    sigset_t set;
    pid_t pid;

    (void)arguments;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid = start_child();
    kill(pid, SIGTSTP);
    expect_child(&set, pid, "SIGTSTP");
    (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT);
    SAY("code %d status %d\n", info.si_code, info.si_status);
    (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED);
    SAY("code %d status %d\n", info.si_code, info.si_status);
    kill(pid, SIGCONT);
    expect_child(&set, pid, "SIGCONT");
    (void)waitid(P_PID, (id_t)pid, &info, WCONTINUED);
    SAY("code %d status %d\n", info.si_code, info.si_status);
    kill(pid, SIGHUP);
    expect_child(&set, pid, "SIGHUP");
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    SAY("code %d status %d\n", info.si_code, info.si_status);
    say_wait("child", pid, 0);
    pid = forked();
    if (pid == 0)
        _exit(3);
    expect_child(&set, pid, "exit");
    say_wait("child", pid, 0);
    return 0;
}

static volatile int n_told;

static void count_told(int signo)
{
    (void)signo;
    n_told++;
}

/* SA_NOCLDSTOP: stops are not told, but waited for; nor is a stop that nobody waits for. */
static int no_stop_told(char **arguments)
{
    struct sigaction action = {.sa_handler = count_told, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
    pid_t pid;

    (void)arguments;
    sigaction(SIGCHLD, &action, NULL);
    pid = start_child();
    for (int i = 0; i < 5; i++) {
        kill(pid, SIGSTOP);
        say_wait("child", pid, WUNTRACED);
        kill(pid, SIGCONT);
        say_wait("child", pid, WCONTINUED);
    }
    SAY("told: %d\n", n_told);
    kill(pid, SIGKILL);
    say_wait("child", pid, 0);
    while (n_told == 0)
        sleep_ms(1);
    SAY("told: %d\n", n_told);
    return 0;
}

/* Children that nobody has to wait for: none is left, and wait(2) says so when all are gone. */
static int reaped_by_itself(char **arguments)
{
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    pid_t r;

    (void)arguments;
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            signal(SIGCHLD, SIG_IGN);
        else
            sigaction(SIGCHLD, &action, NULL);
        for (int n = 0; n < 20; n++)
            if (forked() == 0)
                end_as(n % 2 ? 3 : -SIGTERM);
        r = wait(NULL);
        SAY("wait: %s\n", r < 0 ? strerror(errno) : "a child");
    }
    return 0;
}

/* A process group whose leader stops all of it, as a shell's ^Z does. */
static int group(char **arguments)
{
    pid_t pids[4];

    (void)arguments;
    for (int i = 0; i < 4; i++) {
        pids[i] = forked();
        if (pids[i] == 0) {
            setpgid(0, i ? pids[0] : 0);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
        setpgid(pids[i], pids[0]);
    }
    kill(-pids[0], SIGTSTP);
    for (int i = 0; i < 4; i++)
        say_wait("member", pids[i], WUNTRACED);
    kill(-pids[0], SIGCONT);
    for (int i = 0; i < 4; i++)
        say_wait("member", pids[i], WCONTINUED);
    kill(-pids[0], SIGINT);
    for (int i = 0; i < 4; i++)
        say_wait("member", -pids[0], 0);
    say_wait("none", -pids[0], 0);
    return 0;
}

/* Until it is stopped and killed from outside; in the name of the test. */
static int ticks(char **arguments)
{
    (void)arguments;
    for (;;) {
        SAY("tick\n");
        sleep_ms(5);
    }
    return 0;
}

const struct mode job_modes[] = {
    {"stopped", "", stopped},
    {"killed-while-stopped", "", killed_while_stopped},
    {"stop-storm", "COUNT", stop_storm},
    {"sigchld", "", sigchld},
    {"no-stop-told", "", no_stop_told},
    {"reaped-by-itself", "", reaped_by_itself},
    {"group", "", group},
    {"ticks", "", ticks},
    {NULL, NULL, NULL},
};
