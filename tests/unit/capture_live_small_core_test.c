/* The small core of a held process: what a debugger finds in it. */

#include "capture_live_testing.h"

#include <link.h>

#include "capture/core_info.h"
#include "capture/stack.h"

#define PAGE 4096ull
#define THREADS 20

/* What the child tells the test: mapped before it is forked. */
static struct {
    char *on_stack, *on_heap, *secret;
    char *untouched;
    struct link_map *links;
} * told;

static int share(void **state)
{
    told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return told == MAP_FAILED ? -1 : enter_directory(state);
}

static int unshare_it(void **state)
{
    munmap(told, PAGE);
    return leave_directory(state);
}

/* The whole core and the small one of a process, which is let go. */
struct cores {
    int whole_fd, small_fd;
    struct core_info *whole, *small;
};

static void capture_both(const char *directory, void (*crash)(void), uint64_t limit,
                         struct cores *ret)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    struct held held;
    struct stat st;

    hold(directory, 0, crash, &held);
    process = open_live(&held);
    ret->whole_fd = capture(process, in_directory(directory, "whole"));
    ret->small_fd = memfd_create("small", MFD_CLOEXEC);
    assert_true(ret->small_fd >= 0);
    assert_int_equal(live_core_write_small(process, limit, ret->small_fd), 0);
    assert_int_equal(fstat(ret->small_fd, &st), 0);
    assert_in_range(st.st_size, 1, limit);
    let_go(&held);
    assert_int_equal(core_info_read(ret->whole_fd, &ret->whole), 0);
    assert_int_equal(core_info_read(ret->small_fd, &ret->small), 0);
    assert_false(ret->small->truncated);
}

static void free_cores(struct cores *cores)
{
    core_info_free(cores->whole);
    core_info_free(cores->small);
    close(cores->whole_fd);
    close(cores->small_fd);
}

/* Reads what the small core has at an address. */
static int read_small(const struct cores *cores, const void *at, void *ret, size_t size)
{
    return core_memory_read(&cores->small->memory, cores->small_fd, (uint64_t)(uintptr_t)at, ret,
                            size);
}

static pthread_barrier_t barrier;

static void *wait_forever(void *argument)
{
    char text[64];

    snprintf(text, sizeof(text), "a waiting thread's, at %p", (void *)text);
    pthread_barrier_wait(&barrier);
    while (pause() < 0 && text[0])
        ;
    return argument;
}

/* Compilers know where a recursion has no end. */
static void (*volatile crash_now)(void) = write_to_null;
static volatile bool goes_on = true;

NOINLINE static int go_deeper(int levels, char *on_heap)
{
    char on_stack[64];

    snprintf(on_stack, sizeof(on_stack), "level %d", levels);
    told->on_stack = on_stack;
    if (levels == 0)
        crash_now();
    if (!goes_on)
        return 0;
    return go_deeper(levels - 1, on_heap) + on_stack[0] + on_heap[0];
}

static void crash_with_threads(void)
{
    char *secret, *on_heap = strdup("a text on the heap");
    pthread_t thread;

    secret = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(secret, PAGE, MADV_DONTDUMP);
    strcpy(secret, "a key");
    told->untouched = malloc(64 << 20);
    told->secret = secret;
    told->on_heap = on_heap;
    told->links = _r_debug.r_map;
    memset(malloc(8 << 20), 1, 8 << 20); /* what nothing points at but this call did */
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, wait_forever, NULL) != 0)
            _exit(96);
    pthread_barrier_wait(&barrier);
    usleep(20000);
    _exit(go_deeper(10, on_heap) + secret[0]);
}

static void it_has_every_thread_s_whole_stack(void **state)
{
    struct stack *whole, *small;
    struct cores cores;

    capture_both(*state, crash_with_threads, 4 << 20, &cores);
    assert_int_equal(stack_unwind(cores.whole_fd, NULL, cores.whole, NULL, NULL, &whole), 0);
    assert_int_equal(stack_unwind(cores.small_fd, NULL, cores.small, NULL, NULL, &small), 0);
    assert_int_equal(small->n_threads, THREADS + 1);
    assert_int_equal(whole->n_threads, THREADS + 1);
    assert_true(small->threads[0].n_frames > 10);
    for (size_t i = 0; i < small->n_threads; i++) {
        const struct stack_thread *a = &small->threads[i], *b = &whole->threads[i];

        assert_int_equal(a->tid, b->tid);
        assert_int_equal(a->n_frames, b->n_frames);
        for (size_t frame = 0; frame < a->n_frames; frame++)
            assert_int_equal(a->frames[frame].pc, b->frames[frame].pc);
    }
    stack_free(whole);
    stack_free(small);
    free_cores(&cores);
}

static void it_has_what_locals_point_at_and_no_secrets(void **state)
{
    struct cores cores;
    char text[64];

    capture_both(*state, crash_with_threads, 4 << 20, &cores);
    assert_int_equal(read_small(&cores, told->on_stack, text, sizeof(text)), 0);
    assert_string_equal(text, "level 0");
    assert_int_equal(read_small(&cores, told->on_heap, text, sizeof(text)), 0);
    assert_string_equal(text, "a text on the heap");
    /* The stack has a pointer to it, but MADV_DONTDUMP was asked for. */
    assert_int_equal(read_small(&cores, told->secret, text, 1), -ENODATA);
    assert_int_equal(read_small(&cores, told->untouched + (32 << 20), text, 1), -ENODATA);
    free_cores(&cores);
}

/* As a debugger walks it, which opens the files by those names. */
static void it_has_the_loader_s_list(void **state)
{
    const struct link_map *at;
    struct cores cores;
    struct link_map link;
    size_t count = 0;
    char first;

    capture_both(*state, crash_with_threads, 4 << 20, &cores);
    for (at = told->links; at; at = link.l_next, count++) {
        ElfW(Dyn) dynamic;

        assert_int_equal(read_small(&cores, at, &link, sizeof(link)), 0);
        assert_int_equal(read_small(&cores, link.l_name, &first, 1), 0);
        assert_int_equal(read_small(&cores, link.l_ld, &dynamic, sizeof(dynamic)), 0);
    }
    assert_true(count >= 3); /* the program, libc, the loader */
    assert_int_equal(cores.small->n_modules, cores.whole->n_modules);
    for (size_t i = 0; i < cores.small->n_modules; i++)
        assert_string_equal(cores.small->modules[i].build_id, cores.whole->modules[i].build_id);
    free_cores(&cores);
}

static void interrupt(int signo)
{
    (void)signo;
    write_to_null();
}

static void crash_on_an_alternate_stack(void)
{
    const stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_ONSTACK};
    char far_down[256 << 10];

    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    memset(far_down, 1, sizeof(far_down));
    told->on_stack = far_down + sizeof(far_down) / 2;
    raise(SIGUSR1);
    _exit(far_down[0]);
}

static void it_has_the_stack_that_a_signal_interrupted(void **state)
{
    struct cores cores;
    char byte = 0;

    capture_both(*state, crash_on_an_alternate_stack, 4 << 20, &cores);
    assert_int_equal(read_small(&cores, told->on_stack, &byte, 1), 0);
    assert_int_equal(byte, 1);
    free_cores(&cores);
}

NOINLINE static int overflow(volatile char *above)
{
    volatile char here[512];

    here[0] = above[0];
    if (!goes_on)
        return 0;
    return overflow(here) + here[0];
}

static void *overflow_in_thread(void *argument)
{
    char top = 7;

    told->on_stack = &top;
    overflow(&top);
    return argument;
}

static void overflow_a_small_stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    if (pthread_create(&thread, &attributes, overflow_in_thread, NULL) == 0)
        pthread_join(thread, NULL);
}

static void it_has_the_stack_that_overflowed(void **state)
{
    struct cores cores;
    char byte = 0;

    capture_both(*state, overflow_a_small_stack, 4 << 20, &cores);
    assert_int_equal(read_small(&cores, told->on_stack, &byte, 1), 0);
    assert_int_equal(byte, 7);
    /* In the middle, far from what registers point at. */
    assert_int_equal(read_small(&cores, told->on_stack - (128 << 10), &byte, 1), 0);
    free_cores(&cores);
}

static void a_narrow_limit_keeps_the_crashing_stack(void **state)
{
    struct cores cores;
    char text[64];

    capture_both(*state, crash_with_threads, 192 << 10, &cores);
    assert_int_equal(read_small(&cores, told->on_stack, text, sizeof(text)), 0);
    assert_string_equal(text, "level 0");
    free_cores(&cores);
}

static void a_limit_that_the_notes_exceed_is_refused(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_close_ int fd = memfd_create("small", MFD_CLOEXEC);
    struct held held;

    hold(*state, 0, crash_with_threads, &held);
    process = open_live(&held);
    assert_int_equal(live_core_write_small(process, 16 << 10, fd), -EFBIG);
    let_go(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SHARED(test) cmocka_unit_test_setup_teardown(test, share, unshare_it)
        SHARED(it_has_every_thread_s_whole_stack),
        SHARED(it_has_what_locals_point_at_and_no_secrets),
        SHARED(it_has_the_loader_s_list),
        SHARED(it_has_the_stack_that_a_signal_interrupted),
        SHARED(it_has_the_stack_that_overflowed),
        SHARED(a_narrow_limit_keeps_the_crashing_stack),
        SHARED(a_limit_that_the_notes_exceed_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
