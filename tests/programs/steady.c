/*
 * A process that proves that it goes on: every thread checks what it is left with after each round,
 * and says what is wrong. A line a tenth of a second tells how many rounds were made.
 *
 *     steady MODE [COUNT]...    any number of modes at once
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ul << 20)

static atomic_ulong rounds;
static bool is_busy; /* the first thread never sleeps */

static void wrong(const char *what, long long seen)
{
    printf("wrong: %s: %lld\n", what, seen);
    fflush(stdout);
    _exit(3);
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#if defined(__x86_64__)

/* General registers, the red zone, flags, SSE and (where there are) AVX registers over a loop. */
static unsigned long compute(unsigned long turns)
{
    unsigned long different = 0;

    __asm__ volatile("mov $0x1111111111111111, %%rbx\n"
                     "mov $0x2222222222222222, %%rdx\n"
                     "mov $0x3333333333333333, %%rsi\n"
                     "mov $0x4444444444444444, %%rdi\n"
                     "mov $0x5555555555555555, %%r8\n"
                     "mov $0x6666666666666666, %%r9\n"
                     "mov $0x7777777777777777, %%r10\n"
                     "mov $0x0888888888888888, %%r11\n"
                     "mov $0x0999999999999999, %%r12\n"
                     "mov $0x0aaaaaaaaaaaaaaa, %%r13\n"
                     "mov $0x0bbbbbbbbbbbbbbb, %%r14\n"
                     "movq %%rbx, %%xmm0\n"
                     "movq %%rdx, %%xmm7\n"
                     "movq %%r8, %%xmm15\n"
                     "mov %%r9, -8(%%rsp)\n"
                     "mov %%r10, -120(%%rsp)\n"
                     "stc\n"
                     "1: inc %%rbx\n" /* leaves the carry flag alone */
                     "dec %%rbx\n"
                     "lea -1(%%rcx), %%rcx\n"
                     "jrcxz 2f\n"
                     "jmp 1b\n"
                     "2: jnc 3f\n"
                     "xor %%rax, %%rax\n"
                     "mov $0x1111111111111111, %%rcx\n xor %%rcx, %%rbx\n or %%rbx, %%rax\n"
                     "movq %%xmm0, %%rbx\n xor %%rcx, %%rbx\n or %%rbx, %%rax\n"
                     "mov $0x2222222222222222, %%rcx\n xor %%rcx, %%rdx\n or %%rdx, %%rax\n"
                     "movq %%xmm7, %%rbx\n xor %%rcx, %%rbx\n or %%rbx, %%rax\n"
                     "mov $0x3333333333333333, %%rcx\n xor %%rcx, %%rsi\n or %%rsi, %%rax\n"
                     "mov $0x4444444444444444, %%rcx\n xor %%rcx, %%rdi\n or %%rdi, %%rax\n"
                     "mov $0x5555555555555555, %%rcx\n xor %%rcx, %%r8\n or %%r8, %%rax\n"
                     "movq %%xmm15, %%rbx\n xor %%rcx, %%rbx\n or %%rbx, %%rax\n"
                     "mov -8(%%rsp), %%rbx\n xor %%r9, %%rbx\n or %%rbx, %%rax\n"
                     "mov -120(%%rsp), %%rbx\n xor %%r10, %%rbx\n or %%rbx, %%rax\n"
                     "mov $0x6666666666666666, %%rcx\n xor %%rcx, %%r9\n or %%r9, %%rax\n"
                     "mov $0x7777777777777777, %%rcx\n xor %%rcx, %%r10\n or %%r10, %%rax\n"
                     "mov $0x0888888888888888, %%rcx\n xor %%rcx, %%r11\n or %%r11, %%rax\n"
                     "mov $0x0999999999999999, %%rcx\n xor %%rcx, %%r12\n or %%r12, %%rax\n"
                     "mov $0x0aaaaaaaaaaaaaaa, %%rcx\n xor %%rcx, %%r13\n or %%r13, %%rax\n"
                     "mov $0x0bbbbbbbbbbbbbbb, %%rcx\n xor %%rcx, %%r14\n or %%r14, %%rax\n"
                     "jmp 4f\n"
                     "3: mov $1, %%rax\n"
                     "4:\n"
                     : "=&a"(different), "+c"(turns)
                     :
                     : "rbx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "xmm0", "xmm7", "xmm15", "cc", "memory");
    return different;
}

__attribute__((target("avx"))) static unsigned long compute_wide(unsigned long turns)
{
    static const uint64_t pattern[4] = {0x0123456789abcdef, 0xfedcba9876543210, 7, 13};
    uint64_t after[4];

    __asm__ volatile("vmovdqu (%1), %%ymm3\n"
                     "1: dec %0\n"
                     "jnz 1b\n"
                     "vmovdqu %%ymm3, (%2)\n"
                     : "+r"(turns)
                     : "r"(pattern), "r"(after)
                     : "xmm3", "cc", "memory");
    return (unsigned long)memcmp(pattern, after, sizeof(after));
}

static void spin_once(void)
{
    if (compute(200000) != 0)
        wrong("registers", 0);
    if (__builtin_cpu_supports("avx") && compute_wide(100000) != 0)
        wrong("AVX registers", 0);
    rounds++;
}

#else

static void spin_once(void)
{
    volatile double x = 1;

    for (int i = 0; i < 1000000; i++)
        x = x * 3 / 3;
    if (x != 1)
        wrong("registers", 0);
    rounds++;
}

#endif

static void *spin(void *unused)
{
    for (;;)
        spin_once();
    return unused;
}

#define SLEEP_US 100000
#define LATE_US 2000000 /* a busy machine, and the pause itself */

static void check_time(const char *what, int64_t began)
{
    const int64_t slept = now_us() - began;

    if (slept < SLEEP_US - 1000 || slept > SLEEP_US + LATE_US)
        wrong(what, slept);
    rounds++;
}

static void *sleep_long(void *unused)
{
    const struct timespec pause = {.tv_nsec = SLEEP_US * 1000};

    (void)unused;
    for (;;) {
        int64_t began = now_us();

        if (nanosleep(&pause, NULL) < 0)
            wrong("nanosleep", errno);
        check_time("nanosleep", began);
    }
    return NULL;
}

static void *wait_futex(void *unused)
{
    const struct timespec pause = {.tv_nsec = SLEEP_US * 1000};
    int word = 0;

    (void)unused;
    for (;;) {
        int64_t began = now_us();

        if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &pause, NULL, 0) == 0 ||
            errno != ETIMEDOUT)
            wrong("futex", errno);
        check_time("futex", began);
    }
    return NULL;
}

static void *wait_poll(void *unused)
{
    (void)unused;
    for (;;) {
        int64_t began = now_us();
        int n = poll(NULL, 0, SLEEP_US / 1000);

        if (n != 0)
            wrong("poll", errno);
        check_time("poll", began);
    }
    return NULL;
}

static void *wait_select(void *unused)
{
    (void)unused;
    for (;;) {
        struct timeval pause = {.tv_usec = SLEEP_US};
        int64_t began = now_us();

        if (select(0, NULL, NULL, NULL, &pause) != 0)
            wrong("select", errno);
        check_time("select", began);
    }
    return NULL;
}

static void *read_pipe(void *unused)
{
    int ends[2];
    char byte;

    (void)unused;
    if (pipe(ends) == 0 && read(ends[0], &byte, 1) <= 0)
        wrong("read", errno);
    return NULL;
}

static atomic_ulong alarms;

static void count_alarm(int signo)
{
    (void)signo;
    alarms++;
}

/* Signals all the time; none may be lost or come twice. */
static void *signals(void *unused)
{
    sigset_t mask;

    (void)unused;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    for (unsigned long sent = 1;; sent++) {
        pthread_kill(pthread_self(), SIGUSR2);
        if (alarms != sent)
            wrong("signals", (long long)alarms);
        rounds++;
    }
    return NULL;
}

/* Children that end, which wait(2) has to tell of, and no others. */
static void *spawn_children(void *unused)
{
    static char *const argv[] = {"/bin/true", NULL};

    (void)unused;
    for (;;) {
        pid_t pid, seen;
        int status;

        if (posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL) != 0)
            continue;
        seen = waitpid(-1, &status, 0);
        if (seen != pid)
            wrong("wait", seen);
        rounds++;
    }
    return NULL;
}

static void *start_threads(void *unused);

static void *end_at_once(void *unused)
{
    return unused;
}

static void *start_threads(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, end_at_once, NULL) == 0)
            pthread_join(thread, NULL);
        rounds++;
    }
    return NULL;
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

struct area {
    size_t size;
    uint64_t *words;
};

/* Memory that is written all the time, and never looks but as this thread left it. */
static void *write_memory(void *context)
{
    struct area *area = context;
    const size_t count = area->size / sizeof(uint64_t);

    for (uint64_t turn = 0;; turn++) {
        for (size_t i = 0; i < count; i += 64)
            area->words[i] = turn * 31 + i;
        for (size_t i = 0; i < count; i += 64)
            if (area->words[i] != turn * 31 + i)
                wrong("memory", (long long)i);
        rounds++;
    }
    return NULL;
}

/* An event that comes once a turn; EINTR is what any tracer may cause (ptrace(2)). */
static void *wait_epoll(void *unused)
{
    int poller = epoll_create1(EPOLL_CLOEXEC), ends[2];
    struct epoll_event event = {.events = EPOLLIN};

    (void)unused;
    if (pipe(ends) < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event) < 0)
        wrong("epoll", errno);
    for (;;) {
        int64_t began = now_us();
        int n = epoll_wait(poller, &event, 1, SLEEP_US / 1000);

        if (n > 0 || (n < 0 && errno != EINTR))
            wrong("epoll_wait", errno);
        if (n == 0)
            check_time("epoll_wait", began);
    }
    return NULL;
}

/* Memory of kinds that fork(2) treats each in a way of its own; each begins with its name. */
static void make_areas(void)
{
    static const struct {
        const char *name;
        int flags, advice;
    } areas[] = {
        {"private area", MAP_PRIVATE, -1},
        {"shared area", MAP_SHARED, -1},
        {"dontfork area", MAP_PRIVATE, MADV_DONTFORK},
        {"wipeonfork area", MAP_PRIVATE, MADV_WIPEONFORK},
        {"dontdump area", MAP_PRIVATE, MADV_DONTDUMP},
    };
    void *terabyte = mmap(NULL, MIB * MIB, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    char *large = mmap(NULL, 1024 * MIB, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (terabyte == MAP_FAILED || large == MAP_FAILED)
        wrong("large areas", errno);
    strcpy((char *)terabyte + MIB * MIB / 2, "terabyte area");
    strcpy(large + 1000 * MIB, "large shared area");
    for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
        char *area = mmap(NULL, MIB, PROT_READ | PROT_WRITE, areas[i].flags | MAP_ANONYMOUS, -1, 0);

        if (area == MAP_FAILED || (areas[i].advice >= 0 && madvise(area, MIB, areas[i].advice) < 0))
            wrong("an area", errno);
        for (size_t at = 0; at < MIB; at += 4096)
            snprintf(area + at, 64, "<%s %zu>", areas[i].name, at / 4096);
    }
}

static void start(void *(*run)(void *), void *context)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    if (pthread_create(&thread, &attributes, run, context) != 0)
        wrong("threads", errno);
}

static const struct {
    const char *name;
    void *(*run)(void *);
} modes[] = {
    {"spin", spin},        {"nanosleep", sleep_long},  {"futex", wait_futex},
    {"poll", wait_poll},   {"select", wait_select},    {"read", read_pipe},
    {"idle", idle},        {"signals", signals},       {"children", spawn_children},
    {"epoll", wait_epoll}, {"threads", start_threads},
};

static void begin(const char *name, unsigned long count)
{
    struct area *area;

    if (strcmp(name, "areas") == 0) {
        make_areas();
        return;
    }
    if (strcmp(name, "memory") == 0) { /* MiB */
        area = malloc(sizeof(*area));
        *area = (struct area){count * MIB, malloc(count * MIB)};
        start(write_memory, area);
        return;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(modes[i].name, name) == 0) {
            while (count-- > 0)
                start(modes[i].run, NULL);
            return;
        }
    if (strcmp(name, "busy") == 0)
        is_busy = true;
    else if (strcmp(name, "undumpable") == 0)
        prctl(PR_SET_DUMPABLE, 0);
    else
        wrong(name, 0);
}

int main(int argc, char **argv)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    sigset_t mask;

    signal(SIGUSR2, count_alarm);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        unsigned long count = 1;

        if (i + 1 < argc && argv[i + 1][0] >= '0' && argv[i + 1][0] <= '9')
            count = strtoul(argv[++i], NULL, 10);
        begin(name, count);
    }
    for (;;) {
        printf("%lu\n", (unsigned long)rounds);
        if (fflush(stdout) == EOF)
            return 0;
        for (int64_t began = now_us(); is_busy && now_us() < began + 100000;)
            spin_once();
        if (!is_busy)
            nanosleep(&pause, NULL);
    }
}
