/*
 * The program that the tests watch dying: one mode for each way of ending. `crash` alone lists
 * them. It builds with glibc and, statically, with musl.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static const struct signal_name {
    int number;
    const char *name;
} signal_names[] = {
    {SIGHUP, "HUP"},       {SIGINT, "INT"},   {SIGQUIT, "QUIT"},     {SIGILL, "ILL"},
    {SIGTRAP, "TRAP"},     {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},       {SIGFPE, "FPE"},
    {SIGKILL, "KILL"},     {SIGUSR1, "USR1"}, {SIGSEGV, "SEGV"},     {SIGUSR2, "USR2"},
    {SIGPIPE, "PIPE"},     {SIGALRM, "ALRM"}, {SIGTERM, "TERM"},     {SIGCHLD, "CHLD"},
    {SIGCONT, "CONT"},     {SIGSTOP, "STOP"}, {SIGTSTP, "TSTP"},     {SIGTTIN, "TTIN"},
    {SIGTTOU, "TTOU"},     {SIGURG, "URG"},   {SIGXCPU, "XCPU"},     {SIGXFSZ, "XFSZ"},
    {SIGPROF, "PROF"},     {SIGSYS, "SYS"},   {SIGVTALRM, "VTALRM"}, {SIGWINCH, "WINCH"},
    {SIGSTKFLT, "STKFLT"}, {SIGIO, "IO"},     {SIGPWR, "PWR"},
};

#define N_SIGNAL_NAMES (sizeof(signal_names) / sizeof(signal_names[0]))

static void fail(const char *what)
{
    fprintf(stderr, "crash: %s: %s\n", what, strerror(errno));
    exit(99);
}

/* A signal by number or name, with or without SIG. */
static int signal_argument(const char *text)
{
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    for (size_t i = 0; i < N_SIGNAL_NAMES; i++)
        if (strcmp(text, signal_names[i].name) == 0)
            return signal_names[i].number;
    return atoi(text);
}

/* The frames that tests look for: main, run, outer_caller, inner_caller, crash_here. */

NOINLINE void crash_here(int value);
NOINLINE int inner_caller(int value);
NOINLINE int outer_caller(int value);

void crash_here(int value)
{
    /* Not to be foreseen by the compiler, which may otherwise make a trap of it. */
    volatile int *volatile nowhere = NULL;

    *nowhere = value;
}

int inner_caller(int value)
{
    crash_here(value + 1);
    return value + 1;
}

int outer_caller(int value)
{
    return inner_caller(value + 1) + 1;
}

static int segv(char **arguments)
{
    (void)arguments;
    return outer_caller(40);
}

static int null_call(char **arguments)
{
    int (*volatile nothing)(char **) = NULL;

    return nothing(arguments) + 1;
}

static int do_abort(char **arguments)
{
    (void)arguments;
    abort();
}

static void abort_as_fluent_bit_does(int number)
{
    static const char line[] = "[engine] caught signal (SIGSEGV)\n";
    ssize_t ignored = write(STDERR_FILENO, line, sizeof(line) - 1);

    (void)ignored;
    (void)number;
    abort();
}

static int handler_abort(char **arguments)
{
    signal(SIGSEGV, abort_as_fluent_bit_does);
    return segv(arguments);
}

static void *crash_in_thread(void *arguments)
{
    pthread_setname_np(pthread_self(), "crash-thread");
    segv(arguments);
    return NULL;
}

static int thread_segv(char **arguments)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, crash_in_thread, arguments) != 0)
        fail("cannot make a thread");
    pthread_join(thread, NULL);
    return 0;
}

static pthread_barrier_t all_run;

static void *idle(void *argument)
{
    (void)argument;
    pthread_barrier_wait(&all_run);
    while (pause() < 0)
        ;
    return NULL;
}

static int threads(char **arguments)
{
    const unsigned count = (unsigned)atoi(arguments[0]);
    pthread_attr_t small;
    pthread_t thread;

    pthread_barrier_init(&all_run, NULL, count + 1);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&thread, &small, idle, NULL) != 0)
            fail("cannot make a thread");
    pthread_barrier_wait(&all_run);
    return segv(arguments);
}

static int fpe(char **arguments)
{
#if defined(__x86_64__)
    volatile int some = 40, zero = 0;

    (void)arguments;
    return some / zero;
#else /* division by zero is defined there */
    (void)arguments;
    return raise(SIGFPE);
#endif
}

static int bus(char **arguments)
{
    const int fd = memfd_create("bus", 0);
    volatile char *page;

    (void)arguments;
    if (fd < 0 || ftruncate(fd, 1) < 0)
        fail("cannot make a file");
    page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED || ftruncate(fd, 0) < 0)
        fail("cannot map a file");
    return page[0];
}

static int ill(char **arguments)
{
    (void)arguments;
#if defined(__x86_64__)
    __asm__ volatile("ud2");
#else
    __asm__ volatile(".inst 0");
#endif
    return 0;
}

static int trap(char **arguments)
{
    (void)arguments;
#if defined(__x86_64__)
    __asm__ volatile("int3");
#else
    __asm__ volatile("brk #0");
#endif
    return 0;
}

static int quit(char **arguments)
{
    (void)arguments;
    return raise(SIGQUIT);
}

static int do_raise(char **arguments)
{
    return raise(signal_argument(arguments[0]));
}

static int kill_self(char **arguments)
{
    return kill(getpid(), signal_argument(arguments[0]));
}

static int do_chdir(char **arguments)
{
    if (chdir(arguments[0]) < 0)
        fail("cannot change the directory");
    return segv(arguments);
}

static int seconds_or(const char *argument, int otherwise)
{
    return argument ? atoi(argument) : otherwise;
}

static int fork_worker(char **arguments)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0)
        return segv(arguments);
    waitpid(pid, &status, 0);
    printf("worker: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    sleep((unsigned)seconds_or(arguments[0], 1));
    return 0;
}

static int orphan(char **arguments)
{
    pid_t pid = fork();

    if (pid == 0) {
        const pid_t parent = getpid();

        if (fork() > 0)
            _exit(0);
        while (getppid() == parent)
            usleep(1000);
        return segv(arguments);
    }
    waitpid(pid, NULL, 0);
    sleep((unsigned)seconds_or(arguments[0], 1));
    return 0;
}

static int orphans(char **arguments)
{
    const int count = atoi(arguments[0]);

    for (int i = 0; i < count; i++) {
        pid_t pid = fork();

        if (pid < 0)
            fail("cannot fork");
        if (pid == 0) {
            pid = fork();
            _exit(pid < 0);
        }
        waitpid(pid, NULL, 0);
    }
    return 0;
}

static int do_exit(char **arguments)
{
    exit(atoi(arguments[0]));
}

static int do_sleep(char **arguments)
{
    sleep((unsigned)atoi(arguments[0]));
    return 0;
}

static int big_sparse(char **arguments)
{
    const size_t size = strtoull(arguments[0], NULL, 10);
    volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (size == 0 || memory == MAP_FAILED)
        fail("cannot map that much");
    memory[0] = memory[size / 2] = memory[size - 1] = 'x';
    return segv(arguments);
}

/* xorshift64 (Marsaglia, "Xorshift RNGs"): what no compression makes smaller. */
static int big_noise(char **arguments)
{
    const size_t size = strtoull(arguments[0], NULL, 10);
    uint64_t state = 88172645463325252u;
    uint64_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (size == 0 || memory == MAP_FAILED)
        fail("cannot map that much");
    for (size_t i = 0; i < size / sizeof(*memory); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memory[i] = state;
    }
    return segv(arguments);
}

static int dontdump(char **arguments)
{
    const size_t half = 64 * 1024;
    char *memory = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED || madvise(memory + half, half, MADV_DONTDUMP) < 0)
        fail("cannot map memory that isn't dumped");
    memset(memory, 'K', half);
    memset(memory + half, 'D', half);
    return segv(arguments);
}

static int eat(char **arguments)
{
    const size_t bite = 1 << 20;
    char *memory;

    (void)arguments;
    while ((memory = malloc(bite)))
        memset(memory, 'E', bite);
    fail("nobody ended it");
    return 0;
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

static int overflow(char **arguments)
{
    (void)arguments;
    return recurse(0);
}

static int nodump(char **arguments)
{
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        fail("cannot become undumpable");
    sleep((unsigned)seconds_or(arguments[0], 0));
    return segv(arguments);
}

static void print_signal(int number)
{
    for (size_t i = 0; i < N_SIGNAL_NAMES; i++)
        if (signal_names[i].number == number) {
            printf("SIG%s\n", signal_names[i].name);
            return;
        }
    printf("SIGRTMIN+%d\n", number - SIGRTMIN);
}

static int print_signals(char **arguments)
{
    sigset_t all;
    int number = 0;

    (void)arguments;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("ready\n");
    while (number != SIGTERM) {
        if (sigwait(&all, &number) == 0)
            print_signal(number);
    }
    return 0;
}

static const struct mode {
    const char *name;
    const char *arguments; /* in [] where they may be left out */
    const char *help;
    int (*run)(char **arguments);
} modes[] = {
    {"segv", "", "write to NULL in crash_here()", segv},
    {"null-call", "", "call a NULL function pointer", null_call},
    {"abort", "", "abort()", do_abort},
    {"handler-abort", "", "segv, whose handler prints a line and calls abort()", handler_abort},
    {"thread-segv", "", "segv in a thread named crash-thread", thread_segv},
    {"threads", "N", "segv in the main thread while N others pause", threads},
    {"fpe", "", "divide by zero", fpe},
    {"bus", "", "read a mapped file behind its end", bus},
    {"ill", "", "execute an illegal instruction", ill},
    {"trap", "", "execute a breakpoint instruction", trap},
    {"quit", "", "raise(SIGQUIT)", quit},
    {"raise", "SIGNAL", "raise(SIGNAL)", do_raise},
    {"kill-self", "SIGNAL", "kill(getpid(), SIGNAL)", kill_self},
    {"chdir", "DIR", "segv in another working directory", do_chdir},
    {"fork-worker", "[SECONDS]",
     "segv in a child; the parent prints its signal and exits 0 SECONDS (1) later", fork_worker},
    {"orphan", "[SECONDS]", "segv in a grandchild whose parent is gone; exit 0 SECONDS (1) later",
     orphan},
    {"orphans", "N", "leave N grandchildren behind that exit at once; exit 0", orphans},
    {"exit", "N", "exit with status N", do_exit},
    {"sleep", "SECONDS", "exit 0 after SECONDS", do_sleep},
    {"big-sparse", "BYTES", "segv with BYTES mapped of which three pages were touched", big_sparse},
    {"big-noise", "BYTES", "segv with BYTES of memory that can't be compressed", big_noise},
    {"dontdump", "", "segv with 64 KiB of K, and 64 KiB of D that are MADV_DONTDUMP", dontdump},
    {"eat", "", "take memory until the kernel ends it", eat},
    {"overflow", "", "recurse until the stack is full", overflow},
    {"nodump", "[SECONDS]", "segv SECONDS (0) after prctl(PR_SET_DUMPABLE, 0)", nodump},
    {"signals", "", "print \"ready\", then each signal received; SIGTERM ends it with 0",
     print_signals},
};

static int usage(void)
{
    fprintf(stderr, "usage: crash MODE [ARGUMENT]\n");
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        fprintf(stderr, "  %-13s %-10s %s\n", modes[i].name, modes[i].arguments, modes[i].help);
    return 2;
}

/* A function of its own, so that the stack has it whatever the compiler does to main(). */
NOINLINE int run(const struct mode *mode, char **arguments);

int run(const struct mode *mode, char **arguments)
{
    int status = mode->run(arguments);

    return status != 0;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++) {
        const int needed = modes[i].arguments[0] != '\0' && modes[i].arguments[0] != '[';

        if (strcmp(argv[1], modes[i].name) == 0 && argc >= 2 + needed)
            return run(&modes[i], argv + 2);
    }
    return usage();
}
