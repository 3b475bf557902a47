/* Stacks of real crashes: this program's own children, and copies of it that it runs. */

#include "capture_testing.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "capture/core_info.h"
#include "capture/core_mappings.h"
#include "capture/stack.h"

/* Keeps a call from being the last thing a function does, which would take its frame away. */
static volatile int work_left;

NOINLINE static void outer_function(void (*inner)(void))
{
    inner();
    work_left++;
}

NOINLINE static void middle_function(void)
{
    outer_function(write_to_null);
    work_left++;
}

NOINLINE static void crash_two_deep(void)
{
    middle_function();
    work_left++;
}

static void abort_in_handler(int signo)
{
    (void)signo;
    abort();
}

static void crash_under_a_handler_that_aborts(void)
{
    signal(SIGSEGV, abort_in_handler);
    crash_two_deep();
    work_left++;
}

/* A coarse clock is read without a system call, whatever the machine; it writes where it is told.
 */
NOINLINE static void crash_in_the_vdso(void)
{
    struct timespec *volatile nowhere = (struct timespec *)16;

    clock_gettime(CLOCK_MONOTONIC_COARSE, nowhere);
    work_left++;
}

__attribute__((no_sanitize("undefined"))) NOINLINE static void call_null(void)
{
    void (*volatile nothing)(void) = NULL;

    nothing();
    work_left++;
}

static void call_null_under_a_handler(void)
{
    signal(SIGSEGV, abort_in_handler);
    call_null();
    work_left++;
}

__attribute__((always_inline, no_sanitize("address"), no_sanitize("undefined"))) static inline void
inlined_function(int value)
{
    volatile int *volatile nowhere = NULL;

    *nowhere = value;
}

__attribute__((no_sanitize("address"), no_sanitize("undefined"))) static void crash_inlined(void)
{
    inlined_function(42);
    work_left++;
}

NOINLINE static int recurse(int depth);

static int recurse(int depth)
{
    volatile char frame[128];

    frame[depth % 128] = (char)depth;
    if (depth < 0)
        return 0;
    return recurse(depth + 1) + frame[1];
}

static void overflow(void)
{
    work_left += recurse(0);
}

static pthread_barrier_t barrier;

static void *wait_forever(void *argument)
{
    pthread_barrier_wait(&barrier);
    while (pause() < 0)
        ;
    return argument;
}

#define THREADS 50

static void crash_beside_threads(void)
{
    pthread_t thread;

    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, wait_forever, NULL) != 0)
            _exit(96);
    pthread_barrier_wait(&barrier);
    crash_two_deep();
}

/* A crash's core, read. */
struct core {
    int fd;
    struct core_info *info;
};

static struct core open_core(const char *directory)
{
    struct core core = {.fd = open(in_directory(directory, "core"), O_RDWR | O_CLOEXEC)};

    assert_true(core.fd >= 0);
    assert_int_equal(core_info_read(core.fd, &core.info), 0);
    return core;
}

static void close_core(struct core *core)
{
    close(core->fd);
    core_info_free(core->info);
}

static struct core crash_and_open(const char *directory, void (*crash)(void))
{
    struct crash_record record;

    need_cores_in_files();
    crash_in(directory, RLIM_INFINITY, crash, &record);
    return open_core(directory);
}

static struct stack *unwind(const struct core *core, const char *exe_path)
{
    struct stack *stack = NULL;

    assert_int_equal(stack_unwind(core->fd, exe_path, core->info, NULL, NULL, &stack), 0);
    assert_int_equal(stack->n_threads, core->info->n_threads);
    return stack;
}

static const struct stack_frame *frame_of(const struct stack_thread *thread, const char *function)
{
    for (size_t i = 0; i < thread->n_frames; i++)
        if (thread->frames[i].function && strcmp(thread->frames[i].function, function) == 0)
            return &thread->frames[i];
    fail_msg("there is no frame of %s", function);
    return NULL;
}

/* The caller of what crashes; a compiler may have made a variant of it (crash_in.constprop.0). */
static void expect_test_itself(const struct stack_frame *frame)
{
    assert_int_equal(strncmp(frame->function, "crash_in", 8), 0);
}

static void the_frames_of_a_crash_are_named_and_placed(void **state)
{
    static const struct {
        const char *function, *file;
    } expected[] = {
        {"write_to_null", "/capture_testing.h"},
        {"outer_function", "/capture_stack_test.c"},
        {"middle_function", "/capture_stack_test.c"},
        {"crash_two_deep", "/capture_stack_test.c"},
    };
    struct core core = crash_and_open(*state, crash_two_deep);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_thread *thread = &stack->threads[0];
    const struct stack_frame *frame;

    assert_int_equal(thread->tid, core.info->crash_tid);
    assert_true(thread->n_frames > 6);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        frame = &thread->frames[i];
        assert_string_equal(frame->function, expected[i].function);
        assert_non_null(strstr(frame->file, expected[i].file));
        assert_true(frame->line > 0);
        assert_string_equal(frame->module, core.info->modules[0].path);
        assert_string_equal(frame->build_id, core.info->modules[0].build_id);
        assert_int_equal(frame->module_offset, frame->pc - core.info->modules[0].bias);
        assert_int_equal(frame->is_activation, i == 0);
        assert_false(frame->is_inlined);
        assert_false(frame->is_trampoline);
    }
    expect_test_itself(&thread->frames[4]);
    frame = &thread->frames[1];
    assert_int_equal(frame->function_offset, frame->pc - (uint64_t)(uintptr_t)outer_function);
    assert_null(thread->unwind_error);
    assert_false(thread->cut);

    /* Symbols without their version (__libc_start_main@@GLIBC_2.34), to the very bottom. */
    for (size_t i = 0; i < thread->n_frames; i++)
        assert_true(!thread->frames[i].function || !strchr(thread->frames[i].function, '@'));
    frame = &thread->frames[thread->n_frames - 1];
    assert_string_equal(frame->function, "_start");
    /* It has no source of its own, and its neighbours' is not its. */
    assert_null(frame->file);
    close_core(&core);
}

static void what_a_signal_handler_interrupted_is_shown_below_it(void **state)
{
    struct core core = crash_and_open(*state, crash_under_a_handler_that_aborts);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_thread *thread = &stack->threads[0];
    const struct stack_frame *handler = frame_of(thread, "abort_in_handler");
    const struct stack_frame *trampoline = frame_of(thread, "<signal handler called>");
    const struct stack_frame *interrupted = frame_of(thread, "write_to_null");

    assert_int_equal(core.info->signo, SIGABRT);
    assert_ptr_equal(handler + 1, trampoline);
    assert_ptr_equal(trampoline + 1, interrupted);
    assert_true(trampoline->is_trampoline);
    assert_true(interrupted->is_activation);
    assert_false(interrupted->is_trampoline);
    assert_string_equal(interrupted[1].function, "outer_function");
    assert_false(interrupted[1].is_activation);
    close_core(&core);
}

static void a_call_through_null_is_shown_with_its_caller(void **state)
{
    struct core core = crash_and_open(*state, call_null);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_thread *thread = &stack->threads[0];

    assert_int_equal(thread->frames[0].pc, 0);
    assert_null(thread->frames[0].function);
    assert_null(thread->frames[0].module);
    assert_string_equal(thread->frames[1].function, "call_null");
    assert_false(thread->frames[1].is_activation);
    expect_test_itself(&thread->frames[2]);
    close_core(&core);
}

static void a_call_through_null_under_a_handler_is_shown_with_its_caller(void **state)
{
    struct core core = crash_and_open(*state, call_null_under_a_handler);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_frame *trampoline = frame_of(&stack->threads[0], "<signal handler called>");

    assert_string_equal(trampoline[-1].function, "abort_in_handler");
    assert_int_equal(trampoline[1].pc, 0);
    assert_true(trampoline[1].is_activation);
    assert_string_equal(trampoline[2].function, "call_null");
    assert_false(trampoline[2].is_activation);
    assert_string_equal(trampoline[3].function, "call_null_under_a_handler");
    close_core(&core);
}

static void an_inlined_function_is_a_frame_of_its_own(void **state)
{
    struct core core = crash_and_open(*state, crash_inlined);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_frame *inner = &stack->threads[0].frames[0];
    const struct stack_frame *outer = &stack->threads[0].frames[1];

    assert_string_equal(inner->function, "inlined_function");
    assert_true(inner->is_inlined);
    assert_string_equal(outer->function, "crash_inlined");
    assert_false(outer->is_inlined);
    assert_int_equal(inner->pc, outer->pc);
    assert_true(inner->line > 0 && outer->line > inner->line);
    assert_string_equal(inner->module, outer->module);
    expect_test_itself(&stack->threads[0].frames[2]);
    close_core(&core);
}

static void a_stack_overflow_is_cut_at_the_limit(void **state)
{
    struct core core = crash_and_open(*state, overflow);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);

    assert_int_equal(stack->threads[0].n_frames, STACK_MAX_FRAMES);
    assert_true(stack->threads[0].cut);
    assert_string_equal(stack->threads[0].frames[200].function, "recurse");
    close_core(&core);
}

struct call {
    unsigned count;
    pid_t tid;
    size_t n_frames;
};

static void count_call(const struct stack_thread *thread, void *context)
{
    struct call *call = context;

    call->count++;
    call->tid = thread->tid;
    call->n_frames = thread->n_frames;
}

static void the_crashing_thread_is_told_before_the_others(void **state)
{
    struct core core = crash_and_open(*state, crash_beside_threads);
    _cleanup_stack_ struct stack *stack = NULL;
    struct call call = {0};

    assert_int_equal(stack_unwind(core.fd, NULL, core.info, count_call, &call, &stack), 0);
    assert_int_equal(call.count, 1);
    assert_int_equal(call.tid, core.info->crash_tid);
    assert_int_equal(call.n_frames, stack->threads[0].n_frames);
    assert_int_equal(stack->n_threads, THREADS + 1);
    for (size_t i = 1; i < stack->n_threads; i++)
        frame_of(&stack->threads[i], "wait_forever");
    close_core(&core);
}

/* Returns a descriptor of the copy. */
static int copy_this_program(const char *copy)
{
    _cleanup_close_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    char buffer[64 * 1024];
    ssize_t n;
    int fd;

    while ((n = read(from, buffer, sizeof(buffer))) > 0)
        assert_int_equal(write_all(to, buffer, (size_t)n), 0);
    close(to); /* a file that is open for writing cannot be run */
    fd = open(copy, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/*
 * Runs a copy of this program, which deletes itself and crashes (see main()). Returns a descriptor
 * of the copy.
 */
static int crash_a_deleted_copy(const char *directory, const char *filter)
{
    const char *copy = in_directory(directory, "copy");
    pid_t pid;
    int fd;

    need_cores_in_files();
    fd = copy_this_program(copy);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prepare_to_crash(directory, RLIM_INFINITY);
        execl(copy, copy, "--crash", filter, NULL);
        _exit(96);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    call_it_core(directory);
    return fd;
}

static int delete_this_and_crash(const char *filter)
{
    _cleanup_close_ int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (fd < 0 || write_text(fd, filter) < 0 || n < 0)
        return 95;
    path[n] = '\0';
    prepare_to_crash(".", RLIM_INFINITY); /* a sanitizer sets other signal handlers and limits */
    if (unlink(path) < 0)
        return 94;
    crash_two_deep();
    return 93;
}

static void a_deleted_executable_is_read_where_it_is_still_open(void **state)
{
    _cleanup_close_ int exe_fd = crash_a_deleted_copy(*state, "0x33");
    struct core core = open_core(*state);
    _cleanup_stack_ struct stack *stack = NULL;
    const struct stack_frame *frame;
    char exe_path[64];

    snprintf(exe_path, sizeof(exe_path), "/proc/self/fd/%d", exe_fd);
    stack = unwind(&core, exe_path);
    frame = frame_of(&stack->threads[0], "middle_function");
    assert_non_null(frame->file);
    assert_non_null(strstr(frame->module, "/copy (deleted)"));
    frame_of(&stack->threads[0], "main");
    close_core(&core);
}

/* Writes this program with another build-id: all else would fit. */
static void write_impostor(const char *path, const char *build_id)
{
    _cleanup_close_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const off_t size = lseek(from, 0, SEEK_END);
    _cleanup_free_ char *bytes = malloc((size_t)size);
    unsigned char id[BUILD_ID_MAX];
    const size_t id_size = strlen(build_id) / 2;
    char *found;

    assert_non_null(bytes);
    assert_int_equal(pread_full(from, bytes, (size_t)size, 0), size);
    for (size_t i = 0; i < id_size; i++)
        assert_int_equal(sscanf(build_id + 2 * i, "%2hhx", &id[i]), 1);
    found = memmem(bytes, (size_t)size, id, id_size);
    assert_non_null(found);
    found[0] ^= 1;
    write_file(path, bytes, (size_t)size);
}

static void another_file_is_never_taken_for_the_executable(void **state)
{
    const int exe_fd = crash_a_deleted_copy(*state, "0x33");
    const char *impostor = in_directory(*state, "impostor");
    struct core core = open_core(*state);
    _cleanup_stack_ struct stack *stack = NULL;
    const struct stack_frame *frame;

    close(exe_fd);
    write_impostor(impostor, core.info->modules[0].build_id);
    stack = unwind(&core, impostor);
    frame = &stack->threads[0].frames[0];
    assert_null(frame->function);
    assert_non_null(strstr(frame->module, "/copy (deleted)"));
    assert_int_equal(frame->module_offset, frame->pc - core.info->modules[0].bias);
    assert_string_equal(frame->build_id, core.info->modules[0].build_id);
    close_core(&core);
}

static void a_file_that_is_gone_is_unwound_from_what_the_core_has_of_it(void **state)
{
    const int exe_fd = crash_a_deleted_copy(*state, "0x3f");
    struct core core = open_core(*state);
    _cleanup_stack_ struct stack *stack = unwind(&core, NULL);
    const struct stack_thread *thread = &stack->threads[0];
    size_t own = 0;

    close(exe_fd);
    /* Its symbols were not mapped, but what it takes to unwind was. */
    while (own < thread->n_frames && strstr(thread->frames[own].module, "/copy (deleted)"))
        own++;
    assert_in_range(own, 4, 10);
    assert_true(own < thread->n_frames);
    assert_non_null(strstr(thread->frames[own].module, "/libc.so.6"));
    assert_null(thread->unwind_error);
    close_core(&core);
}

/* A process that is stopped, and what its reader knows of it: a struct core whose file is its
 * memory. */
struct stopped {
    struct core core;
    pid_t pid;
};

static void wait_for_stop(pid_t pid, int signo)
{
    int status;

    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) != signo)
        assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    assert_true(WIFSTOPPED(status));
}

/* Each mapping is a segment, which lies at its address. */
static void learn_memory(pid_t pid, struct core_info *info)
{
    char path[64], line[PATH_MAX + 128], mode[5];
    _cleanup_fclose_ FILE *maps = NULL;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    assert_non_null(maps);
    info->memory.segments = calloc(1024, sizeof(info->memory.segments[0]));
    while (fgets(line, sizeof(line), maps)) {
        struct core_segment *segment = &info->memory.segments[info->memory.n_segments++];

        assert_in_range(info->memory.n_segments, 1, 1024);
        assert_int_equal(
            sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &segment->start, &segment->end, mode), 3);
        segment->file_offset = segment->start;
        segment->file_size = segment->end - segment->start;
        segment->executable = mode[2] == 'x';
        if (strstr(line, "[vdso]"))
            info->vdso = segment->start;
    }
}

static struct stopped look_at_stopped(pid_t pid)
{
    struct core_info *info = calloc(1, sizeof(*info));
    struct stopped stopped = {.core.info = info, .pid = pid};
    _cleanup_close_ int maps_fd = -1;
    struct iovec registers;
    char path[64];

    wait_for_stop(pid, SIGSEGV);
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    stopped.core.fd = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    maps_fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(stopped.core.fd >= 0 && maps_fd >= 0);

    info->pid = info->crash_tid = pid;
    info->threads = calloc(1, sizeof(info->threads[0]));
    info->n_threads = 1;
    info->threads[0].tid = pid;
    registers = (struct iovec){&info->threads[0].registers, sizeof(info->threads[0].registers)};
    assert_int_equal(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &registers), 0);
    learn_memory(pid, info);
    assert_int_equal(core_mappings_from_maps(maps_fd, info), 0);
    assert_int_equal(core_modules_find(stopped.core.fd, 0, info), 0);
    return stopped;
}

static struct stopped crash_and_stop(const char *directory, void (*crash)(void))
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prepare_to_crash(directory, 0);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        crash();
        _exit(97);
    }
    return look_at_stopped(pid);
}

static void end_stopped(struct stopped *stopped)
{
    assert_int_equal(kill(stopped->pid, SIGKILL), 0);
    assert_int_equal(waitpid(stopped->pid, NULL, 0), stopped->pid);
    close_core(&stopped->core);
}

static void a_process_that_is_stopped_is_unwound_like_a_core(void **state)
{
    static const char *const expected[] = {"write_to_null", "outer_function", "middle_function",
                                           "crash_two_deep"};
    struct stopped stopped = crash_and_stop(*state, crash_two_deep);
    _cleanup_stack_ struct stack *stack = unwind(&stopped.core, NULL);
    const struct stack_thread *thread = &stack->threads[0];

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_string_equal(thread->frames[i].function, expected[i]);
        assert_true(thread->frames[i].line > 0);
        assert_string_not_equal(thread->frames[i].build_id, "");
    }
    assert_string_equal(thread->frames[thread->n_frames - 1].function, "_start");
    assert_null(thread->unwind_error);
    end_stopped(&stopped);
}

static void a_stopped_process_is_unwound_through_its_vdso(void **state)
{
    struct stopped stopped = crash_and_stop(*state, crash_in_the_vdso);
    _cleanup_stack_ struct stack *stack = unwind(&stopped.core, NULL);
    const struct stack_thread *thread = &stack->threads[0];

    assert_true(thread->frames[0].pc - stopped.core.info->vdso < 0x10000);
    assert_non_null(thread->frames[0].function);
    frame_of(thread, "crash_in_the_vdso");
    end_stopped(&stopped);
}

/* Runs a program that deletes itself and crashes, and stops it there. */
static struct stopped run_and_stop(const char *directory, const char *program)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prepare_to_crash(directory, 0);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execl(program, program, "--crash", "0x33", NULL);
        _exit(96);
    }
    return look_at_stopped(pid);
}

/* As a core of it would be, but that all that was mapped is there. */
static void a_stopped_process_is_unwound_without_its_files(void **state)
{
    const char *copy = in_directory(*state, "copy");
    struct stopped stopped;
    struct stack *stack;
    size_t own = 0;

    close(copy_this_program(copy));
    stopped = run_and_stop(*state, copy);
    assert_int_equal(access(copy, F_OK), -1);
    stack = unwind(&stopped.core, NULL);
    while (own < stack->threads[0].n_frames &&
           strstr(stack->threads[0].frames[own].module, "/copy (deleted)"))
        own++;
    assert_in_range(own, 4, 10);
    assert_non_null(strstr(stack->threads[0].frames[own].module, "/libc.so.6"));
    assert_null(stack->threads[0].unwind_error);
    stack_free(stack);
    end_stopped(&stopped);
}

static void expect_packed(const struct stack_thread *thread, void *context)
{
    const struct stack_frame *frame = frame_of(thread, "middle_function");

    assert_null(frame->file);
    assert_int_equal(frame_of(thread, "main")->line, 0);
    (*(unsigned *)context)++;
}

static void debug_information_that_is_packed_comes_after_the_first_word(void **state)
{
    const char *copy = in_directory(*state, "copy");
    const pid_t packer = fork();
    _cleanup_close_ int exe_fd = -1;
    _cleanup_stack_ struct stack *stack = NULL;
    struct stopped stopped;
    unsigned calls = 0;
    char exe_path[64];
    int status;

    if (packer == 0) {
        snprintf(exe_path, sizeof(exe_path), "/proc/%d/exe", getppid());
        execlp("objcopy", "objcopy", "--compress-debug-sections", exe_path, copy, NULL);
        _exit(96);
    }
    assert_int_equal(waitpid(packer, &status, 0), packer);
    assert_int_equal(status, 0);
    exe_fd = open(copy, O_RDONLY | O_CLOEXEC);
    stopped = run_and_stop(*state, copy);
    stopped.core.info->knows_executable = true;
    snprintf(exe_path, sizeof(exe_path), "/proc/self/fd/%d", exe_fd);

    assert_int_equal(
        stack_unwind(stopped.core.fd, exe_path, stopped.core.info, expect_packed, &calls, &stack),
        0);
    assert_int_equal(calls, 1);
    assert_non_null(frame_of(&stack->threads[0], "middle_function")->file);
    assert_true(frame_of(&stack->threads[0], "main")->line > 0);
    end_stopped(&stopped);
}

static void a_truncated_core_is_unwound_as_far_as_it_goes(void **state)
{
    struct core core = crash_and_open(*state, crash_two_deep);
    _cleanup_stack_ struct stack *stack = NULL;
    struct core cut;

    /* Behind the notes, which the memory follows. */
    assert_int_equal(ftruncate(core.fd, (off_t)core.info->memory.segments[0].file_offset), 0);
    cut = open_core(*state);
    assert_true(cut.info->truncated);
    stack = unwind(&cut, NULL);
    /* Its memory is gone: the registers are all there is. */
    assert_string_equal(stack->threads[0].frames[0].function, "write_to_null");
    assert_string_equal(stack->threads[0].unwind_error, "its memory cannot be read");
    close_core(&cut);
    close_core(&core);
}

static void a_core_without_modules_or_threads_is_no_obstacle(void **state)
{
    const struct elf_prpsinfo process = made_process(7);
    struct core empty = {.fd = make_core_of(&process, SIGSEGV)};
    struct stack *stack;

    (void)state;
    assert_int_equal(core_info_read(empty.fd, &empty.info), 0);
    stack = unwind(&empty, NULL);
    assert_int_equal(stack->threads[0].n_frames, 1);
    assert_int_equal(stack->threads[0].frames[0].pc, 0);
    stack_free(stack);
    empty.info->n_threads = 0;
    stack = unwind(&empty, NULL);
    stack_free(stack);
    close_core(&empty);
}

static void garbage_in_a_core_never_takes_forever(void **state)
{
    const struct rlimit no_core = {0, 0};
    struct core core = crash_and_open(*state, crash_under_a_handler_that_aborts);
    unsigned seed = 1;

    for (int round = 0; round < 40; round++) {
        int status;
        pid_t pid;

        for (int i = 0; i < 20; i++) {
            const uint64_t garbage = (uint64_t)rand_r(&seed) << 32 | (uint64_t)rand_r(&seed);
            const off_t at = (off_t)((uint64_t)rand_r(&seed) % (core.info->file_size - 8));

            assert_int_equal(pwrite(core.fd, &garbage, sizeof(garbage), at), sizeof(garbage));
        }
        pid = fork();
        if (pid == 0) {
            struct core_info *info = NULL;
            struct stack *stack = NULL;

            setrlimit(RLIMIT_CORE, &no_core);
            alarm(20);
            if (core_info_read(core.fd, &info) == 0 &&
                stack_unwind(core.fd, NULL, info, NULL, NULL, &stack) == 0)
                stack_free(stack);
            core_info_free(info);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        /* libdw may die of it, in its process of its own. */
        assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    }
    close_core(&core);
}

static void print(const struct stack_thread *thread, const struct core_info *info,
                  const char *expected)
{
    _cleanup_free_ char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    stack_print_thread(out, thread, info);
    fclose(out);
    assert_string_equal(text, expected);
}

static void a_stack_is_printed_a_frame_a_line(void **state)
{
    struct stack_frame frames[] = {
        {.pc = 0x7f2ad1a3c1a3,
         .function = "strlen",
         .function_offset = 0x13,
         .module = "/usr/lib/libc.so.6",
         .module_offset = 0x9a1a3},
        {.pc = 0x55d0c1e2c2c2,
         .function = "inner",
         .is_inlined = true,
         .file = "/src/x.c",
         .line = 118,
         .module = "/bin/fluent-bit",
         .module_offset = 0x1e2c2},
        {.pc = 0x55d0c1e2c2c2,
         .function = "cb_flush",
         .function_offset = 9,
         .file = "/src/x.c",
         .line = 120,
         .module = "/bin/fluent-bit",
         .module_offset = 0x1e2c2},
        {.pc = 0x1000, .function = "<signal handler called>", .is_trampoline = true},
        {.pc = 0x2000, .module = "/tmp/a\x1b[31mb", .module_offset = 0},
        {.pc = 0},
    };
    struct core_thread named = {.tid = 12, .name = "flb-pipeline"};
    struct core_info info = {.threads = &named, .n_threads = 1};
    struct stack_thread thread = {.tid = 12, .frames = frames, .n_frames = 6};

    (void)state;
    print(&thread, &info,
          "Thread 12 \"flb-pipeline\":\n"
          "#0  0x00007f2ad1a3c1a3 in strlen+0x13 (libc.so.6+0x9a1a3)\n"
          "#1  0x000055d0c1e2c2c2 in inner at /src/x.c:118 (inlined) (fluent-bit+0x1e2c2)\n"
          "#2  0x000055d0c1e2c2c2 in cb_flush at /src/x.c:120 (fluent-bit+0x1e2c2)\n"
          "#3  <signal handler called>\n"
          "#4  0x0000000000002000 in ?? (a?[31mb+0x0)\n"
          "#5  0x0000000000000000 in ??\n");

    thread = (struct stack_thread){.tid = 13, .frames = frames, .n_frames = 1, .cut = true};
    print(&thread, &info,
          "Thread 13:\n"
          "#0  0x00007f2ad1a3c1a3 in strlen+0x13 (libc.so.6+0x9a1a3)\n"
          "(the stack goes on: only its first 1 frames are shown)\n");

    thread = (struct stack_thread){.tid = 14, .unwind_error = "no luck"};
    print(&thread, &info, "Thread 14:\n(the stack goes on, but cannot be followed: no luck)\n");
}

static void build_ids_are_printed_once_a_module(void **state)
{
    struct stack_frame frames[] = {
        {.module = "/lib/libc.so.6", .build_id = "58ff"}, {.module = NULL},
        {.module = "/bin/app\x1b", .build_id = "00ab"},   {.module = "/lib/none", .build_id = ""},
        {.module = "/lib/libc.so.6", .build_id = "58ff"},
    };
    const struct stack_thread thread = {.frames = frames, .n_frames = 5};
    _cleanup_free_ char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_non_null(out);
    stack_print_build_ids(out, &thread);
    fclose(out);
    assert_string_equal(text, "libc.so.6: build-id 58ff\napp?: build-id 00ab\n");
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(the_frames_of_a_crash_are_named_and_placed),
        CORE_TEST(what_a_signal_handler_interrupted_is_shown_below_it),
        CORE_TEST(a_call_through_null_is_shown_with_its_caller),
        CORE_TEST(a_call_through_null_under_a_handler_is_shown_with_its_caller),
        CORE_TEST(an_inlined_function_is_a_frame_of_its_own),
        CORE_TEST(a_stack_overflow_is_cut_at_the_limit),
        CORE_TEST(the_crashing_thread_is_told_before_the_others),
        CORE_TEST(a_deleted_executable_is_read_where_it_is_still_open),
        CORE_TEST(another_file_is_never_taken_for_the_executable),
        CORE_TEST(a_file_that_is_gone_is_unwound_from_what_the_core_has_of_it),
        CORE_TEST(a_process_that_is_stopped_is_unwound_like_a_core),
        CORE_TEST(a_stopped_process_is_unwound_through_its_vdso),
        CORE_TEST(a_stopped_process_is_unwound_without_its_files),
        CORE_TEST(debug_information_that_is_packed_comes_after_the_first_word),
        CORE_TEST(a_truncated_core_is_unwound_as_far_as_it_goes),
        cmocka_unit_test(a_core_without_modules_or_threads_is_no_obstacle),
        CORE_TEST(garbage_in_a_core_never_takes_forever),
        cmocka_unit_test(a_stack_is_printed_a_frame_a_line),
        cmocka_unit_test(build_ids_are_printed_once_a_module),
    };

    if (argc == 3 && strcmp(argv[1], "--crash") == 0)
        return delete_this_and_crash(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
