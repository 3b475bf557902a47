/* The core of a held process beside the one that the kernel writes of the same process. */

#include "capture_live_testing.h"

#include <elf.h>
#include <sched.h>

#include "capture/core_info.h"

#define MANY_THREADS 500

struct note {
    const char *name;
    uint32_t type, size;
    const char *desc;
};

/* Fetches the note at an offset, which is advanced. Returns false at the end. */
static bool next_note(const struct core_shape *shape, size_t *at, struct note *ret)
{
    Elf64_Nhdr header;

    if (*at >= shape->segments[0].p_filesz)
        return false;
    memcpy(&header, shape->notes + *at, sizeof(header));
    *ret = (struct note){
        .name = shape->notes + *at + sizeof(header),
        .type = header.n_type,
        .size = header.n_descsz,
        .desc = shape->notes + *at + sizeof(header) + ((header.n_namesz + 3) & ~3u),
    };
    *at = (size_t)(ret->desc - shape->notes) + ((header.n_descsz + 3) & ~3u);
    assert_true(*at <= shape->segments[0].p_filesz);
    return true;
}

static struct elf_prstatus status_of(const struct note *note)
{
    struct elf_prstatus status;

    assert_int_equal(note->size, sizeof(status));
    memcpy(&status, note->desc, sizeof(status));
    return status;
}

/* Procfs rounds CPU times to clock ticks, and scales them by the scheduler's clock. */
static void forget_times(struct elf_prstatus *status)
{
    const struct timeval none = {0};

    status->pr_utime = status->pr_stime = status->pr_cutime = status->pr_cstime = none;
}

static void compare_status(const struct note *ours, const struct note *kernels)
{
    struct elf_prstatus a = status_of(ours), b = status_of(kernels);

    forget_times(&a);
    forget_times(&b);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void compare_note(const struct note *ours, const struct note *kernels)
{
    assert_int_equal(ours->type, kernels->type);
    assert_string_equal(ours->name, kernels->name);
    assert_int_equal(ours->size, kernels->size);
    if (ours->type == NT_PRSTATUS)
        compare_status(ours, kernels);
    else
        assert_memory_equal(ours->desc, kernels->desc, ours->size);
}

/* Where a thread's notes begin. */
static size_t find_thread(const struct core_shape *shape, pid_t tid)
{
    size_t at = 0, begin = 0;
    struct note note;

    for (; next_note(shape, &at, &note); begin = at)
        if (note.type == NT_PRSTATUS && status_of(&note).pr_pid == tid)
            return begin;
    fail_msg("thread %d is missing", tid);
    return 0;
}

/* The kernel's order of threads is that in which they stopped; only the first one's is fixed. */
static void compare_notes(const struct core_shape *ours, const struct core_shape *kernels)
{
    size_t at = 0, kernels_at = 0;
    struct note note, kernels_note;

    assert_int_equal(ours->segments[0].p_filesz, kernels->segments[0].p_filesz);
    while (next_note(ours, &at, &note)) {
        if (note.type == NT_PRSTATUS && kernels_at != 0)
            kernels_at = find_thread(kernels, status_of(&note).pr_pid);
        if (!next_note(kernels, &kernels_at, &kernels_note))
            fail_msg("there is no note of type %x", note.type);
        /* It comes behind the last thread, whichever that is. */
        while (note.type == 0x205 && kernels_note.type != 0x205)
            assert_true(next_note(kernels, &kernels_at, &kernels_note));
        compare_note(&note, &kernels_note);
    }
}

/*
 * The sanitizer gives parts of its own memory back. Whether the rest of a mapping was written to
 * before only the kernel knows (vma_dump_size() of fs/coredump.c); procfs shows that nothing is
 * there, and where the bytes of what follows lie in the core is another matter then.
 */
#ifdef __SANITIZE_ADDRESS__
#define KNOWS_WHAT_WAS_WRITTEN 0
#else
#define KNOWS_WHAT_WAS_WRITTEN 1
#endif

static void compare_headers(const struct core_shape *ours, const struct core_shape *kernels)
{
    assert_memory_equal(&ours->header, &kernels->header, sizeof(ours->header));
    assert_int_equal(ours->count, kernels->count);
    for (size_t i = 0; i < ours->count; i++) {
        Elf64_Phdr own = ours->segments[i];

        if (!KNOWS_WHAT_WAS_WRITTEN) {
            own.p_offset = kernels->segments[i].p_offset;
            if (own.p_filesz == 0)
                own.p_filesz = kernels->segments[i].p_filesz;
        }
        if (memcmp(&own, &kernels->segments[i], sizeof(own)) != 0)
            print_message("%zu: %lx-%lx\n", i, own.p_vaddr, own.p_vaddr + own.p_memsz);
        assert_memory_equal(&own, &kernels->segments[i], sizeof(own));
    }
}

static void compare_memory(const struct core_shape *ours, const struct core_shape *kernels)
{
    static char a[1 << 20], b[1 << 20];

    for (size_t i = 1; i < ours->count; i++) {
        const Elf64_Phdr *segment = &ours->segments[i];

        for (uint64_t done = 0; done < segment->p_filesz;) {
            uint64_t part = segment->p_filesz - done;

            part = part < sizeof(a) ? part : sizeof(a);
            assert_int_equal(pread_full(ours->fd, a, part, segment->p_offset + done), part);
            assert_int_equal(pread_full(kernels->fd, b, part, kernels->segments[i].p_offset + done),
                             part);
            if (memcmp(a, b, part) != 0)
                fail_msg("%lx differs", segment->p_vaddr + done);
            done += part;
        }
    }
}

/* Captures a process both ways. */
static void compare_with_kernel(const char *directory, void (*crash)(void))
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_close_ int our_fd = -1, kernels_fd = -1;
    struct core_shape ours, kernels;
    struct held held;

    need_cores_in_files();
    hold(directory, RLIM_INFINITY, crash, &held);
    process = open_live(&held);
    our_fd = capture(process, in_directory(directory, "ours"));
    assert_int_equal(process->unreadable, 0);
    let_go(&held);
    assert_true(WIFSIGNALED(held.status) && WCOREDUMP(held.status));
    call_it_core(directory);
    kernels_fd = open(in_directory(directory, "core"), O_RDONLY | O_CLOEXEC);
    assert_true(kernels_fd >= 0);

    ours = read_shape(our_fd);
    kernels = read_shape(kernels_fd);
    compare_notes(&ours, &kernels);
    compare_headers(&ours, &kernels);
    compare_memory(&ours, &kernels);
    free_shape(&ours);
    free_shape(&kernels);
}

static void a_fault_is_captured_as_the_kernel_does(void **state)
{
    compare_with_kernel(*state, write_to_null);
}

static void an_abort_is_captured_as_the_kernel_does(void **state)
{
    compare_with_kernel(*state, abort_at_once);
}

static pthread_barrier_t barrier;

static void *wait_forever(void *argument)
{
    pthread_setname_np(pthread_self(), "waits forever");
    pthread_barrier_wait(&barrier);
    while (pause() < 0)
        ;
    return argument;
}

static void *crash_when_all_wait(void *argument)
{
    pthread_setname_np(pthread_self(), "the crashing");
    pthread_barrier_wait(&barrier);
    usleep(20000);
    write_to_null();
    return argument;
}

static void crash_among_many_threads(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_barrier_init(&barrier, NULL, MANY_THREADS + 1);
    for (int i = 0; i < MANY_THREADS; i++)
        if (pthread_create(&thread, &attributes,
                           i == MANY_THREADS / 2 ? crash_when_all_wait : wait_forever, NULL) != 0)
            _exit(96);
    wait_forever(NULL);
}

static void threads_are_captured_as_the_kernel_does(void **state)
{
    compare_with_kernel(*state, crash_among_many_threads);
}

static void *crash_when_alone(void *argument)
{
    pthread_join(*(pthread_t *)argument, NULL);
    usleep(20000);
    write_to_null();
    return argument;
}

static void crash_behind_the_leader(void)
{
    static pthread_t leader;
    pthread_t thread;

    leader = pthread_self();
    if (pthread_create(&thread, NULL, crash_when_alone, &leader) == 0)
        pthread_exit(NULL);
}

static void a_thread_that_outlives_the_first_is_captured_as_the_kernel_does(void **state)
{
    compare_with_kernel(*state, crash_behind_the_leader);
}

static void ids_are_those_of_the_process_s_own_namespace(void **state)
{
    _cleanup_close_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    pid_t first;

    assert_true(own >= 0);
    if (unshare(CLONE_NEWPID) < 0) {
        print_message("skipped: a pid namespace can't be made here\n");
        skip();
    }
    /* The first process of a namespace isn't killed by signals that a tracer lets through. */
    first = fork();
    assert_true(first >= 0);
    if (first == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    compare_with_kernel(*state, crash_among_many_threads);
    assert_int_equal(setns(own, CLONE_NEWPID), 0);
    kill(first, SIGKILL);
    assert_int_equal(waitpid(first, NULL, 0), first);
}

/* Mappings of all kinds. */

#define PAGE 4096ul
#define SIZE (16 * PAGE)

static char *map(size_t size, int protection, int flags, int fd)
{
    char *at = mmap(NULL, size, protection, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

    if (at == MAP_FAILED)
        _exit(94);
    return at;
}

static int make_file(const char *name, const char *beginning)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, SIZE) < 0 ||
        pwrite(fd, beginning, strlen(beginning), 0) != (ssize_t)strlen(beginning))
        _exit(93);
    return fd;
}

static void map_memory(void)
{
    const int both = PROT_READ | PROT_WRITE;
    volatile char byte;
    char *at;

    at = map(1024 * PAGE, both, MAP_PRIVATE, -1);
    for (size_t page = 0; page < 1024; page += 1 + page / 8)
        at[page * PAGE] = (char)page;
    mprotect(at + 100 * PAGE, 50 * PAGE, PROT_READ);
    mprotect(at + 200 * PAGE, 50 * PAGE, PROT_NONE);
    mprotect(at + 300 * PAGE, 50 * PAGE, PROT_EXEC);
    madvise(at + 400 * PAGE, 50 * PAGE, MADV_DONTDUMP);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at + 500 * PAGE, 50 * PAGE, "named");

    map(SIZE, both, MAP_PRIVATE, -1); /* never touched */
    map(SIZE, PROT_NONE, MAP_PRIVATE, -1);
    byte = map(SIZE, PROT_READ, MAP_PRIVATE, -1)[PAGE]; /* the page of zeros */
    at = map(SIZE, both, MAP_SHARED, -1);
    at[2 * PAGE] = 7;
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, SIZE, "shared");

    /* Huge pages, where the machine has any. */
    for (int flags = MAP_PRIVATE; flags != 0; flags = flags == MAP_PRIVATE ? MAP_SHARED : 0) {
        at = mmap(NULL, 4 << 20, both, flags | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        if (at != MAP_FAILED)
            at[PAGE] = 9;
    }
    (void)byte;
}

static void map_files(void)
{
    const int both = PROT_READ | PROT_WRITE;
    int fd = make_file("file", "not an ELF file");

    map(SIZE, PROT_READ, MAP_PRIVATE, fd);
    map(SIZE, both, MAP_PRIVATE, fd)[3 * PAGE] = 1;
    map(SIZE, both, MAP_SHARED, fd)[5 * PAGE] = 2;
    fd = open("file", O_RDONLY | O_CLOEXEC);
    map(SIZE, PROT_READ, MAP_SHARED, fd);

    fd = make_file("elf", "\177ELF, it says");
    map(SIZE, PROT_READ, MAP_PRIVATE, fd);
    map(SIZE, PROT_NONE, MAP_PRIVATE, fd);
    fd = make_file("two\nlines", "");
    map(SIZE, both, MAP_SHARED, fd);
    map(SIZE, both, MAP_PRIVATE, fd);
    fd = make_file("gone", "");
    map(SIZE, both, MAP_SHARED, fd)[PAGE] = 1;
    map(SIZE, both, MAP_PRIVATE, fd);
    unlink("gone");
    fd = memfd_create("memory", MFD_CLOEXEC);
    /* The kernel adds a page of what is executable and no ELF file, as such a file is at first. */
    if (ftruncate(fd, SIZE) < 0 || fchmod(fd, 0600) < 0)
        _exit(92);
    map(SIZE, both, MAP_SHARED, fd)[PAGE] = 1;
    map(SIZE, both, MAP_PRIVATE, fd)[PAGE] = 2;
}

static const char *filter;

static void crash_with_mappings(void)
{
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write_text(fd, filter) < 0)
        _exit(91);
    map_memory();
    map_files();
    write_to_null();
}

static void mappings_are_captured_as_the_kernel_does_whatever_the_filter(void **state)
{
    static const char *const filters[] = {"0x33", "0x37", "0x7f", "0",    "0x1",  "0x2",
                                          "0x4",  "0x8",  "0x10", "0x20", "0x40", "0x1ff"};

    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        filter = filters[i];
        compare_with_kernel(*state, crash_with_mappings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)
        IN_DIRECTORY(a_fault_is_captured_as_the_kernel_does),
        IN_DIRECTORY(an_abort_is_captured_as_the_kernel_does),
        IN_DIRECTORY(threads_are_captured_as_the_kernel_does),
        IN_DIRECTORY(a_thread_that_outlives_the_first_is_captured_as_the_kernel_does),
        IN_DIRECTORY(ids_are_those_of_the_process_s_own_namespace),
        IN_DIRECTORY(mappings_are_captured_as_the_kernel_does_whatever_the_filter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
