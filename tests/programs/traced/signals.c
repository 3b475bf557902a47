/* Signals as one process sees its own: their order, their siginfo, what is pending. */

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "traced.h"

/* Filled by handlers, said later. */
static struct {
    int signo, code, value, depth;
    bool is_own;
} noted[1024];
static volatile int n_noted, depth;

static bool has_value(const siginfo_t *info)
{
    return info->si_code == SI_QUEUE || info->si_code == SI_TIMER;
}

static void note(int signo, siginfo_t *info, void *context)
{
    const int at = n_noted++;

    (void)context;
    depth++;
    noted[at].signo = signo;
    noted[at].code = info->si_code;
    noted[at].value = has_value(info) ? info->si_value.sival_int : 0;
    noted[at].is_own = info->si_pid == getpid();
    noted[at].depth = depth;
    depth--;
}

static void say_noted(void)
{
    for (int i = 0; i < n_noted; i++)
        SAY("signal %d code %d value %d own %d depth %d\n", noted[i].signo, noted[i].code,
            noted[i].value, noted[i].is_own, noted[i].depth);
    SAY("%d signals\n", n_noted);
    n_noted = 0;
}

static bool is_catchable(int signo)
{
    return signo != SIGKILL && signo != SIGSTOP && (signo < 32 || signo >= SIGRTMIN);
}

static void handle(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

    sigfillset(&action.sa_mask);
    if (flags & SA_NODEFER)
        sigemptyset(&action.sa_mask);
    if (sigaction(signo, &action, NULL) < 0)
        fail("sigaction");
}

/* In the three ways a process has: kill(2), tgkill(2), sigqueue(3). */
static void send_all_ways(int signo)
{
    if (kill(getpid(), signo) < 0 || raise(signo) < 0 ||
        sigqueue(getpid(), signo, (union sigval){.sival_int = 1000 + signo}) < 0)
        fail("cannot send a signal");
}

static int caught(char **arguments)
{
    (void)arguments;
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_catchable(signo))
            handle(signo, note, 0);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_catchable(signo))
            send_all_ways(signo);
    say_noted();
    return 0;
}

static int ignored(char **arguments)
{
    sigset_t pending;

    (void)arguments;
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_catchable(signo))
            signal(signo, SIG_IGN);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_catchable(signo))
            send_all_ways(signo);
    sigpending(&pending);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (sigismember(&pending, signo) > 0)
            SAY("signal %d is pending\n", signo);
    SAY("alive\n");
    return 0;
}

/* Ignored while blocked: neither kept nor delivered. */
static int ignored_blocked(char **arguments)
{
    struct timespec now = {0, 0};
    sigset_t all;

    (void)arguments;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGSEGV, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    send_all_ways(SIGQUIT);
    send_all_ways(SIGSEGV);
    send_all_ways(SIGUSR1);
    send_all_ways(SIGWINCH);
    for (int signo; (signo = sigtimedwait(&all, NULL, &now)) > 0;)
        SAY("signal %d was kept\n", signo);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    SAY("alive\n");
    return 0;
}

static void say_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    SAY("pending:");
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (sigismember(&pending, signo) > 0)
            SAY(" %d", signo);
    SAY("\n");
}

static void block_all(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

static void queue_many(void)
{
    static const int some[] = {SIGUSR2, SIGHUP,   SIGUSR1, SIGUSR1, SIGSEGV, SIGQUIT,
                               SIGCHLD, SIGWINCH, SIGURG,  SIGTERM, SIGABRT, SIGFPE};

    for (int i = 0; i < 9; i++)
        if (sigqueue(getpid(), SIGRTMIN + 2 - i % 3, (union sigval){.sival_int = i}) < 0)
            fail("sigqueue");
    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
        kill(getpid(), some[i]);
    raise(SIGUSR2); /* pending for the thread, beside that for the process */
    raise(SIGRTMAX);
}

static int queued(char **arguments)
{
    sigset_t none;

    (void)arguments;
    block_all();
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_catchable(signo))
            handle(signo, note, 0);
    queue_many();
    say_pending();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    say_noted();
    return 0;
}

static int waited(char **arguments)
{
    struct timespec now = {0, 0};
    siginfo_t info;
    sigset_t all;

    (void)arguments;
    block_all();
    queue_many();
    sigfillset(&all);
    for (int signo; (signo = sigtimedwait(&all, &info, &now)) > 0;)
        SAY("signal %d code %d value %d own %d\n", signo, info.si_code,
            has_value(&info) ? info.si_value.sival_int : 0, info.si_pid == getpid());
    say_pending();
    return 0;
}

static int by_signalfd(char **arguments)
{
    struct signalfd_siginfo infos[64];
    sigset_t all;
    ssize_t n;
    int fd;

    (void)arguments;
    block_all();
    sigfillset(&all);
    fd = signalfd(-1, &all, SFD_CLOEXEC);
    if (forked() == 0) {
        sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = 7});
        queue_many();
        _exit(5);
    }
    wait(NULL);
    queue_many();
    while (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0) {
        n = read(fd, infos, sizeof(infos));
        for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(infos[0]); i++)
            SAY("signal %u code %d int %d status %d own %d\n", infos[i].ssi_signo,
                infos[i].ssi_code, infos[i].ssi_int, infos[i].ssi_status,
                infos[i].ssi_pid == (uint32_t)getpid());
    }
    return 0;
}

static char other_stack[64 * 1024];
static volatile int on_other_stack;

static void look_at_stack(int signo)
{
    const char here = 0;

    (void)signo;
    on_other_stack = (uintptr_t)&here - (uintptr_t)other_stack < sizeof(other_stack);
}

static void nest(int signo, siginfo_t *info, void *context)
{
    note(signo, info, context);
    depth++;
    if (n_noted < 4)
        raise(signo);
    depth--;
}

static sigjmp_buf out;

static void jump_out(int signo)
{
    siglongjmp(out, signo);
}

static void note_and_leave(int signo, siginfo_t *info, void *context)
{
    note(signo, info, context);
    SAY("fault %d code %d at NULL: %d\n", signo, info->si_code, info->si_addr == NULL);
    siglongjmp(out, signo);
}

/* The flags of sigaction(2). */
static int flags(char **arguments)
{
    struct sigaction action = {.sa_handler = look_at_stack, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof(other_stack)};
    sigset_t none;

    (void)arguments;
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    SAY("on the alternate stack: %d\n", on_other_stack);

    handle(SIGUSR1, note, SA_RESETHAND);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &action);
    SAY("reset: %d\n", action.sa_handler == SIG_DFL);

    handle(SIGUSR2, nest, SA_NODEFER);
    raise(SIGUSR2);
    say_noted();
    handle(SIGUSR2, nest, 0);
    raise(SIGUSR2);
    say_noted();

    signal(SIGSEGV, jump_out);
    for (int i = 0; i < 3; i++)
        if (sigsetjmp(out, 1) == 0)
            crash_here();
    SAY("jumped out of three faults\n");

    block_all();
    handle(SIGUSR1, note, 0);
    kill(getpid(), SIGUSR1);
    sigemptyset(&none);
    SAY("sigsuspend: %s\n", sigsuspend(&none) < 0 ? strerror(errno) : "?");
    say_noted();
    return 0;
}

/* What the kernel says of a fault arrives whole. */
static int fault_info(char **arguments)
{
    static const int faults[] = {SIGSEGV, SIGTRAP, SIGFPE, SIGILL, SIGBUS};

    (void)arguments;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        handle(faults[i], note_and_leave, 0);
    if (sigsetjmp(out, 1) == 0)
        crash_here();
    say_noted();
#if defined(__x86_64__)
    if (sigsetjmp(out, 1) == 0)
        __asm__ volatile("int3");
    if (sigsetjmp(out, 1) == 0)
        __asm__ volatile("ud2");
    if (sigsetjmp(out, 1) == 0) {
        volatile int some = 40, zero = 0;

        some = some / zero;
    }
    say_noted();
#endif
    return 0;
}

static void expect(const sigset_t *set, const char *what)
{
    struct timespec patience = {10, 0};
    siginfo_t info;
    int signo = sigtimedwait(set, &info, &patience);

    SAY("%s: signal %d code %d value %d\n", what, signo, signo > 0 ? info.si_code : 0,
        signo > 0 && has_value(&info) ? info.si_value.sival_int : 0);
}

static int timers(char **arguments)
{
    static const struct {
        int which, signo;
        const char *name;
    } intervals[] = {{ITIMER_REAL, SIGALRM, "real"},
                     {ITIMER_VIRTUAL, SIGVTALRM, "virtual"},
                     {ITIMER_PROF, SIGPROF, "prof"}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
    struct itimerspec spec = {{0, 2000000}, {0, 2000000}};
    sigset_t set;
    timer_t timer;

    (void)arguments;
    for (size_t i = 0; i < 3; i++) {
        struct itimerval every = {{0, 4000}, {0, 4000}}, never = {{0, 0}, {0, 0}};

        handle(intervals[i].signo, note, SA_RESTART);
        setitimer(intervals[i].which, &every, NULL);
        while (n_noted < 10)
            ;
        setitimer(intervals[i].which, &never, NULL);
        SAY("%s: signal %d code %d\n", intervals[i].name, noted[9].signo, noted[9].code);
        n_noted = 0;
    }

    block_all();
    sigemptyset(&set);
    sigaddset(&set, event.sigev_signo);
    event.sigev_value.sival_int = 77;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        fail("timer_create");
    timer_settime(timer, 0, &spec, NULL);
    for (int i = 0; i < 10; i++)
        expect(&set, "timer");
    sleep_ms(30);
    expect(&set, "late timer");
    SAY("overran: %d\n", timer_getoverrun(timer) > 0);

    handle(event.sigev_signo, note, 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    while (n_noted < 10)
        ;
    timer_delete(timer);
    SAY("handled: code %d value %d\n", noted[9].code, noted[9].value);
    return 0;
}

/* Signals that one process sends another; those of a higher number are read later. */
static int from_outside(char **arguments)
{
    sigset_t all;
    pid_t pid;

    (void)arguments;
    block_all();
    sigfillset(&all);
    pid = forked();
    if (pid == 0) {
        siginfo_t info;

        while (sigwaitinfo(&all, &info) != SIGRTMAX)
            SAY("got %d code %d value %d from the parent %d\n", info.si_signo, info.si_code,
                has_value(&info) ? info.si_value.sival_int : 0, info.si_pid == getppid());
        _exit(0);
    }
    for (int i = 0; i < 200; i++)
        if (sigqueue(pid, SIGRTMIN, (union sigval){.sival_int = i}) < 0)
            fail("sigqueue");
    kill(pid, SIGRTMAX);
    say_wait("child", pid, 0);
    return 0;
}

static volatile struct {
    int next, wrong;
} * storm_state;

static void count_storm(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    if (info->si_value.sival_int != storm_state->next)
        storm_state->wrong++;
    storm_state->next++;
}

/* Handlers while another sends as fast as it can: every queued one comes, in order. */
static int storm(char **arguments)
{
    const int count = atoi(arguments[0]);
    pid_t pid;

    storm_state = shared(sizeof(*storm_state));
    handle(SIGRTMIN, count_storm, SA_RESTART);
    handle(SIGURG, note, SA_RESTART);
    pid = forked();
    if (pid == 0) {
        for (int i = 0; i < count; i++) {
            if (i % 16 == 0)
                kill(getppid(), SIGWINCH);
            while (storm_state->next < i - 500 ||
                   sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = i}) < 0)
                sleep_ms(1);
        }
        _exit(0);
    }
    say_wait("sender", pid, 0);
    while (storm_state->next < count)
        sleep_ms(1);
    SAY("%d came, %d out of order\n", storm_state->next, storm_state->wrong);
    return 0;
}

const struct mode signal_modes[] = {
    {"caught", "", caught},
    {"ignored", "", ignored},
    {"ignored-blocked", "", ignored_blocked},
    {"queued", "", queued},
    {"waited", "", waited},
    {"signalfd", "", by_signalfd},
    {"flags", "", flags},
    {"fault-info", "", fault_info},
    {"timers", "", timers},
    {"from-outside", "", from_outside},
    {"storm", "COUNT", storm},
    {NULL, NULL, NULL},
};
