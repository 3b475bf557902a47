/*
 * System calls that are interrupted (signal(7)): each call sleeps while its process is stopped and
 * continued, gets a signal that it handles, or one that it ignores. All at once, each in a process
 * of its own.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "traced.h"

/* Long enough that every poke comes before it ends, on a busy machine too. */
#define TIMEOUT_MS 1600

static const struct timespec timeout = {TIMEOUT_MS / 1000, (TIMEOUT_MS % 1000) * 1000000L};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int do_nanosleep(int fd)
{
    (void)fd;
    return (int)syscall(SYS_nanosleep, &timeout, NULL);
}

static int do_clock_nanosleep(int fd)
{
    struct timespec until;

    (void)fd;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout.tv_sec;
    until.tv_nsec += timeout.tv_nsec;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return (int)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int do_ppoll(int fd)
{
    struct timespec left = timeout;

    (void)fd;
    return (int)syscall(SYS_ppoll, NULL, 0, &left, NULL, 0);
}

static int do_pselect(int fd)
{
    struct timespec left = timeout;

    (void)fd;
    return (int)syscall(SYS_pselect6, 0, NULL, NULL, NULL, &left, NULL);
}

static int do_epoll(int fd)
{
    struct epoll_event event;
    int epoll = epoll_create1(0);

    (void)fd;
    return (int)syscall(SYS_epoll_pwait, epoll, &event, 1, TIMEOUT_MS, NULL, 8);
}

static int do_futex(int fd)
{
    static uint32_t word;

    (void)fd;
    return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0);
}

/* Ends with the byte that the parent writes at last, as the next two do. */
static int do_read(int fd)
{
    char byte;

    return (int)syscall(SYS_read, fd, &byte, 1);
}

static int do_epoll_forever(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);

    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    return (int)syscall(SYS_epoll_pwait, epoll, &event, 1, -1, NULL, 8);
}

static int do_recv(int fd)
{
    char byte;

    return (int)syscall(SYS_recvfrom, fd, &byte, 1, 0, NULL, NULL);
}

static int do_recv_timeout(int fd)
{
    struct timeval patience = {TIMEOUT_MS / 1000, (TIMEOUT_MS % 1000) * 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return do_recv(fd);
}

static int do_inotify(int fd)
{
    char event[512];
    int notify = inotify_init1(0);

    /* A read of what never happens; the alarm below ends it where nothing else does. */
    (void)fd;
    return (int)syscall(SYS_read, notify, event, sizeof(event));
}

static int do_semop(int fd)
{
    struct sembuf take = {.sem_op = -1};
    int set = semget(IPC_PRIVATE, 1, 0600), r, error;

    (void)fd;
    r = (int)syscall(SYS_semtimedop, set, &take, 1, &timeout);
    error = errno;
    semctl(set, 0, IPC_RMID);
    errno = error;
    return r;
}

static int do_sigtimedwait(int fd)
{
    sigset_t set;

    (void)fd;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    return (int)syscall(SYS_rt_sigtimedwait, &set, NULL, &timeout, 8);
}

static int do_wait(int fd)
{
    pid_t pid = fork();

    if (pid == 0) {
        do_read(fd);
        _exit(0);
    }
    return (int)syscall(SYS_wait4, pid, NULL, 0, NULL) == pid ? 1 : -1;
}

static int do_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int file = memfd_create("lock", 0), ready[2];
    char byte;

    if (pipe(ready) < 0)
        fail("pipe");
    if (fork() == 0) {
        fcntl(file, F_SETLK, &lock);
        write(ready[1], "r", 1);
        do_read(fd);
        _exit(0);
    }
    read(ready[0], &byte, 1);
    return (int)syscall(SYS_fcntl, file, F_SETLKW, &lock);
}

static const struct {
    const char *name;
    int (*run)(int fd);
    long number;
    bool is_timed;
} calls[] = {
    {"nanosleep", do_nanosleep, SYS_nanosleep, true},
    {"clock_nanosleep", do_clock_nanosleep, SYS_clock_nanosleep, true},
    {"ppoll", do_ppoll, SYS_ppoll, true},
    {"pselect", do_pselect, SYS_pselect6, true},
    {"epoll_wait", do_epoll, SYS_epoll_pwait, true},
    {"epoll_wait for ever", do_epoll_forever, SYS_epoll_pwait, false},
    {"futex", do_futex, SYS_futex, true},
    {"read", do_read, SYS_read, false},
    {"recv", do_recv, SYS_recvfrom, false},
    {"recv with SO_RCVTIMEO", do_recv_timeout, SYS_recvfrom, true},
    {"inotify", do_inotify, SYS_read, false},
    {"semtimedop", do_semop, SYS_semtimedop, true},
    {"sigtimedwait", do_sigtimedwait, SYS_rt_sigtimedwait, true},
    {"wait4", do_wait, SYS_wait4, false},
    {"fcntl(F_SETLKW)", do_lock, SYS_fcntl, false},
};

#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

static void stop_and_continue(pid_t pid)
{
    int status;

    for (int i = 0; i < 2; i++) {
        kill(pid, SIGSTOP);
        /* A call that has ended may have ended its process too. */
        if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
            return;
        sleep_ms(20);
        kill(pid, SIGCONT);
    }
}

static void send_handled(pid_t pid)
{
    kill(pid, SIGUSR1);
}

static void send_restarting(pid_t pid)
{
    kill(pid, SIGUSR2);
}

/*
 * By default, or because it is told so. Not SIGCONT: where a tracer sees it, there is no telling
 * whether there was a stop before it.
 */
static void send_ignored(pid_t pid)
{
    static const int some[] = {SIGWINCH, SIGCHLD, SIGURG, SIGPIPE, SIGQUIT};

    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        kill(pid, some[i]);
        sleep_ms(10);
    }
}

static const struct {
    const char *name;
    void (*poke)(pid_t pid);
} pokes[] = {
    {"stopped", stop_and_continue},
    {"handler", send_handled},
    {"restarting handler", send_restarting},
    {"ignored", send_ignored},
};

#define N_POKES (sizeof(pokes) / sizeof(pokes[0]))

struct outcome {
    int value, error;
    bool is_early;
};

static void handle(int signo)
{
    (void)signo;
}

static void prepare(void)
{
    struct sigaction plain = {.sa_handler = handle};
    struct sigaction restarting = {.sa_handler = handle, .sa_flags = SA_RESTART};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGUSR1, &plain, NULL);
    sigaction(SIGUSR2, &restarting, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
}

/* In a process of its own: one call in a child, which gets one kind of poke. */
static void poke_call(size_t call, size_t poke, struct outcome *outcome)
{
    int ends[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        fail("socketpair");
    pid = forked();
    if (pid == 0) {
        int64_t before;

        close(ends[1]);
        prepare();
        before = now_ms();
        outcome->value = calls[call].run(ends[0]);
        outcome->error = outcome->value < 0 ? errno : 0;
        outcome->is_early = calls[call].is_timed && now_ms() - before < TIMEOUT_MS;
        _exit(0);
    }
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN); /* of a call that is over already */
    await_call(pid, calls[call].number);
    sleep_ms(20);
    pokes[poke].poke(pid);
    sleep_ms(20);
    if (!calls[call].is_timed)
        (void)!write(ends[1], "x", 1);
    if (calls[call].run == do_inotify) {
        sleep_ms(300);
        kill(pid, SIGKILL);
    }
    waitpid(pid, NULL, 0);
    _exit(0);
}

static int interrupted(char **arguments)
{
    struct outcome *outcomes = shared(N_CALLS * N_POKES * sizeof(*outcomes));
    const struct outcome unknown = {.value = -2};

    (void)arguments;
    for (size_t i = 0; i < N_CALLS * N_POKES; i++) {
        outcomes[i] = unknown;
        if (forked() == 0)
            poke_call(i / N_POKES, i % N_POKES, &outcomes[i]);
    }
    for (int status; wait(&status) > 0;)
        if (status != 0)
            fail("a child failed");
    for (size_t i = 0; i < N_CALLS * N_POKES; i++)
        SAY("%s, %s: %d %s%s\n", calls[i / N_POKES].name, pokes[i % N_POKES].name,
            outcomes[i].value, outcomes[i].error ? strerrorname_np(outcomes[i].error) : "",
            outcomes[i].is_early ? " early" : "");
    return 0;
}

const struct mode call_modes[] = {
    {"interrupted", "", interrupted},
    {NULL, NULL, NULL},
};
