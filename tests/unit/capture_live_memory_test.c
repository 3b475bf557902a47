/* A held process's memory: what is never read, what can't be, and what vanishes meanwhile. */

#include "capture_live_testing.h"

#include <grp.h>

#include "capture/core_info.h"
#include "capture/live_layout.h"
#include "capture/live_pages.h"
#include "capture/live_tables.h"

#define TERABYTE (1ull << 40)
#define PAGE 4096ull
#define VSYSCALL 0xffffffffff600000ull /* negative, as an offset of a file */

/* What the child tells the test: mapped before it is forked. */
static struct {
    char *at;
    int fd;
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

static char *map(size_t size, int flags, int fd)
{
    char *at =
        mmap(NULL, size, PROT_READ | PROT_WRITE, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

    if (at == MAP_FAILED)
        _exit(94);
    return at;
}

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads memory from a core that was captured. */
static int read_core(const struct core_info *info, int fd, const char *at, char *ret)
{
    return core_memory_read(&info->memory, fd, (uint64_t)(uintptr_t)at, ret, 1);
}

static void crash_with_a_terabyte(void)
{
    char *at = map(TERABYTE, MAP_PRIVATE | MAP_NORESERVE, -1);

    at[0] = 'a';
    at[TERABYTE / 3] = 'b';
    at[TERABYTE - 1] = 'c';
    told->at = at;
    write_to_null();
}

static void a_terabyte_of_which_three_pages_were_touched_costs_nothing(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_core_source_ struct core_source *source = NULL;
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    struct held held;
    int64_t begun;
    char byte;

    hold(*state, 0, crash_with_a_terabyte, &held);
    begun = milliseconds();
    process = open_live(&held);
    assert_int_equal(live_core_source(process, &source), 0);
    assert_true(write_stream(source, fd) < 32 << 20);
    assert_true(milliseconds() - begun < 5000); /* without PAGEMAP_SCAN it takes half a second */
    let_go(&held);

    assert_true(source->size < 256 << 20);
    assert_int_equal(core_info_read(fd, &info), 0);
    assert_int_equal(read_core(info, fd, told->at, &byte), 0);
    assert_int_equal(byte, 'a');
    assert_int_equal(read_core(info, fd, told->at + TERABYTE / 3, &byte), 0);
    assert_int_equal(byte, 'b');
    assert_int_equal(read_core(info, fd, told->at + TERABYTE - 1, &byte), 0);
    assert_int_equal(byte, 'c');
    /* The holes are known to be mapped, and that is all. */
    assert_int_equal(read_core(info, fd, told->at + TERABYTE / 2, &byte), -ENODATA);
    assert_non_null(core_memory_find(&info->memory, (uint64_t)(uintptr_t)told->at + TERABYTE / 2));
}

/* Pages that follow each other, that don't, and a hole of some size. */
static void crash_with_scattered_pages(void)
{
    char *at = map(256 << 20, MAP_PRIVATE, -1);

    for (uint64_t page = 0; page < 6000; page += 1 + (page % 3))
        at[page * PAGE] = (char)(page | 1);
    at[(192 << 20) + PAGE] = 2;
    told->at = at;
    write_to_null();
}

static void without_the_ioctl_the_same_pages_are_found(void **state)
{
    struct live_pages by_ioctl = {0}, by_reading = {.has_no_ioctl = true};
    struct live_range a, b;
    struct held held;
    uint64_t start;
    size_t count = 0;

    hold(*state, 0, crash_with_scattered_pages, &held);
    start = (uint64_t)(uintptr_t)told->at;
    by_ioctl.fd = by_reading.fd = held.record.pagemap_fd;
    live_pages_begin(&by_ioctl, start, start + (256 << 20));
    live_pages_begin(&by_reading, start, start + (256 << 20));
    while (live_pages_next(&by_ioctl, &a) > 0) {
        /* Where one call ends and the next begins is a walk's own matter. */
        for (; a.start < a.end; a.start = b.end, count++) {
            assert_int_equal(live_pages_next(&by_reading, &b), 1);
            assert_int_equal(a.start, b.start);
            assert_true(b.end > b.start && b.end <= a.end);
        }
    }
    assert_int_equal(live_pages_next(&by_reading, &b), 0);
    assert_true(count > 2000);
    if (by_ioctl.has_no_ioctl)
        print_message("this kernel has no PAGEMAP_SCAN: nothing was compared\n");
    let_go(&held);
}

/* Opens the held process as on a kernel before 6.7. */
static void without_the_ioctl_the_core_is_the_same(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    static char a[1 << 20], b[1 << 20];
    int fds[2];
    struct held held;

    hold(*state, 0, crash_with_scattered_pages, &held);
    process = open_live(&held);
    fds[0] = capture(process, in_directory(*state, "by ioctl"));
    process->tables->has_no_scan = true;
    fds[1] = capture(process, in_directory(*state, "by reading"));
    for (uint64_t at = 0; at < process->info->file_size; at += sizeof(a)) {
        ssize_t n = pread_full(fds[0], a, sizeof(a), at);

        assert_true(n > 0);
        assert_int_equal(pread_full(fds[1], b, sizeof(b), at), n);
        assert_memory_equal(a, b, n);
    }
    let_go(&held);
    close(fds[0]);
    close(fds[1]);
}

static void crash_with_shared_memory(void)
{
    int fd = memfd_create("shared", MFD_CLOEXEC);
    char *at;

    if (fd < 0 || ftruncate(fd, 256 << 20) < 0)
        _exit(93);
    at = map(256 << 20, MAP_SHARED, fd);
    at[100 << 20] = 'a';
    told->at = at;
    told->fd = fd;
    write_to_null();
}

static void holes_of_large_shared_memory_are_not_filled(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = -1;
    struct held held;
    struct stat st;
    char path[64], byte;

    hold(*state, 0, crash_with_shared_memory, &held);
    process = open_live(&held);
    fd = capture(process, in_directory(*state, "ours"));
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", held.record.pid, told->fd);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_blocks * 512, PAGE, 2 << 20); /* a huge page at most */
    let_go(&held);
    assert_int_equal(core_info_read(fd, &info), 0);
    assert_int_equal(read_core(info, fd, told->at + (100 << 20), &byte), 0);
    assert_int_equal(byte, 'a');
}

static void crash_on_a_file_that_was_cut(void)
{
    int fd = open("cut", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char *at;

    if (fd < 0 || ftruncate(fd, 8 * PAGE) < 0)
        _exit(93);
    at = map(8 * PAGE, MAP_PRIVATE, fd);
    at[0] = 'a';
    at[6 * PAGE] = 'b';
    told->at = at;
    if (ftruncate(fd, PAGE) < 0)
        _exit(92);
    write_to_null();
}

static void what_was_cut_off_a_mapped_file_is_zeros_and_counted(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = -1;
    struct held held;
    char byte;

    hold(*state, 0, crash_on_a_file_that_was_cut, &held);
    process = open_live(&held);
    fd = capture(process, in_directory(*state, "ours"));
    let_go(&held);
    /* Truncating drops private copies of the pages too. */
    assert_int_equal(process->unreadable, 7 * PAGE);
    assert_int_equal(core_info_read(fd, &info), 0);
    assert_int_equal(read_core(info, fd, told->at, &byte), 0);
    assert_int_equal(byte, 'a');
    assert_int_equal(read_core(info, fd, told->at + 6 * PAGE, &byte), 0);
    assert_int_equal(byte, 0);
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void crash_with_guard_pages(void)
{
    char *at = map(16 * PAGE, MAP_PRIVATE, -1);

    memset(at, 1, 16 * PAGE);
    told->at = madvise(at, 4 * PAGE, MADV_GUARD_INSTALL) == 0 ? at : NULL;
    write_to_null();
}

static void guard_pages_are_not_missed(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    struct held held;

    hold(*state, 0, crash_with_guard_pages, &held);
    process = open_live(&held);
    close(capture(process, in_directory(*state, "ours")));
    let_go(&held);
    if (!told->at) {
        print_message("skipped: this kernel has no guard pages (Linux 6.13)\n");
        skip();
    }
    assert_int_equal(process->unreadable, 0);
}

static void crash_with_much_memory(void)
{
    memset(map(64 << 20, MAP_PRIVATE, -1), 5, 64 << 20);
    memset(map(16 << 20, MAP_SHARED, -1), 6, 16 << 20);
    write_to_null();
}

/* Kills the process once @moment bytes of its core are read. */
static void kill_in_the_middle(const char *directory, uint64_t moment)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_core_source_ struct core_source *source = NULL;
    uint64_t at = 0, lost = 0;
    bool is_killed = false;
    struct core_run run;
    struct held held;
    int status;

    hold(directory, 0, crash_with_much_memory, &held);
    process = open_live(&held);
    assert_int_equal(live_core_source(process, &source), 0);
    while (at < source->size) {
        if (!is_killed && at >= moment) {
            assert_int_equal(kill(held.record.pid, SIGKILL), 0);
            assert_int_equal(waitpid(held.record.pid, &status, __WALL), held.record.pid);
            assert_true(WIFSIGNALED(status));
            is_killed = true;
        }
        assert_int_equal(source->next(source, &run), 1);
        at += run.size;
        if (is_killed && !run.data)
            lost += run.size;
        /* The notes were taken before. */
        assert_true(!is_killed || !run.data || at <= process->tables->layout.data_offset);
    }
    assert_int_equal(source->next(source, &run), 0);
    assert_int_equal(at, source->size);
    assert_true(process->unreadable > 0);
    /* There are zeros by right between notes and memory, and in the vsyscall page. */
    assert_in_range(process->unreadable, lost - 2 * PAGE, lost);
    let_go(&held);
}

static void a_process_that_is_killed_meanwhile_ends_in_zeros_that_are_counted(void **state)
{
    static const uint64_t moments[] = {0, 2 << 20, 40 << 20, 70 << 20};

    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++)
        kill_in_the_middle(*state, moments[i]);
}

static void a_process_that_was_killed_before_is_told(void **state)
{
    struct live_process *process = NULL;
    struct held held;
    int status;

    hold(*state, 0, write_to_null, &held);
    assert_int_equal(kill(held.record.pid, SIGKILL), 0);
    assert_int_equal(waitpid(held.record.pid, &status, __WALL), held.record.pid);
    assert_int_equal(live_process_open(&held.record, NULL, &process), -ESRCH);
    let_go(&held);
}

static void forbid_and_crash(void)
{
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    prctl(PR_SET_DUMPABLE, 0);
    told->at = (char *)told;
    write_to_null();
}

/* In a child, as another user: nothing here may rely on what root may. Returns its exit status. */
static int capture_what_forbids(const char *directory)
{
    struct live_process *process = NULL;
    struct held held;
    char path[64];
    int r;

    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                           setresuid(65534, 65534, 65534) < 0))
        return 1;
    /* Changing ids has made this process undumpable, and its children would be. */
    prctl(PR_SET_DUMPABLE, 1);
    hold(directory, 0, forbid_and_crash, &held);
    snprintf(path, sizeof(path), "/proc/%d/mem", held.record.pid);
    if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
        return 2; /* it isn't forbidden */
    r = live_process_open(&held.record, NULL, &process);
    if (r < 0)
        return 3;
    close(capture(process, in_directory(directory, "ours")));
    r = process->unreadable != 0 ? 4 : process->info->n_modules < 2 ? 5 : 0;
    live_process_free(process);
    let_go(&held);
    return r;
}

static void an_undumpable_process_is_read_through_what_was_opened_before(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = -1;
    int status;
    pid_t pid;

    assert_int_equal(chmod(*state, 0777), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(capture_what_forbids(*state));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fd = open(in_directory(*state, "ours"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(core_info_read(fd, &info), 0);
    assert_int_equal(info->signo, SIGSEGV);
    assert_true(info->knows_executable);
    assert_false(info->truncated);
}

static void crash_with_a_name(void)
{
    prctl(PR_SET_NAME, "with a name");
    write_to_null();
}

static void what_the_live_process_tells_is_what_its_core_tells(void **state)
{
    _cleanup_live_process_ struct live_process *process = NULL;
    _cleanup_core_info_ struct core_info *core = NULL;
    const struct core_info *live;
    _cleanup_close_ int fd = -1;
    struct held held;
    char byte;

    hold(*state, 0, crash_with_a_name, &held);
    process = open_live(&held);
    live = process->info;
    fd = capture(process, in_directory(*state, "ours"));
    assert_int_equal(core_info_read(fd, &core), 0);

    /* There it would be the file's position that is read from. */
    assert_int_equal(core_memory_read(&live->memory, process->mem_fd, VSYSCALL, &byte, 1),
                     -ENODATA);
    assert_int_equal(live->pid, core->pid);
    assert_int_equal(live->ppid, core->ppid);
    assert_int_equal(live->crash_tid, core->crash_tid);
    assert_int_equal(live->signo, SIGSEGV);
    assert_int_equal(live->signo, core->signo);
    assert_true(live->has_siginfo);
    assert_int_equal(live->si_code, core->si_code);
    assert_int_equal(live->fault_address, core->fault_address);
    assert_string_equal(live->comm, core->comm);
    assert_string_equal(live->args, core->args);
    assert_int_equal(live->vdso, core->vdso);
    assert_int_equal(live->file_size, core->file_size);
    assert_int_equal(live->expected_size, core->expected_size);
    assert_false(live->truncated);
    assert_int_equal(live->n_threads, core->n_threads);
    assert_string_equal(live->threads[0].name, "with a name");
    assert_memory_equal(live->threads[0].registers, core->threads[0].registers,
                        sizeof(elf_gregset_t));
    assert_int_equal(live->n_mappings, core->n_mappings);
    for (size_t i = 0; i < live->n_mappings; i++) {
        assert_int_equal(live->mappings[i].start, core->mappings[i].start);
        assert_int_equal(live->mappings[i].executable, core->mappings[i].executable);
        assert_string_equal(live->mappings[i].path, core->mappings[i].path);
    }
    assert_true(live->knows_executable);
    assert_int_equal(live->n_modules, core->n_modules);
    for (size_t i = 0; i < live->n_modules; i++) {
        assert_string_equal(live->modules[i].path, core->modules[i].path);
        assert_int_equal(live->modules[i].bias, core->modules[i].bias);
        assert_string_equal(live->modules[i].build_id, core->modules[i].build_id);
    }
    let_go(&held);
}

#define MANY_SEGMENTS 70000

static void more_segments_than_the_header_can_count_are_laid_out(void **state)
{
    const struct elf_prpsinfo process = made_process(7);
    const struct made_note note = {"CORE", NT_PRPSINFO, &process, sizeof(process)};
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    _cleanup_core_info_ struct core_info *info = NULL;
    struct live_layout layout = {0};
    struct core_shape shape;
    uint64_t at = 0, notes_size;
    size_t next = 0, size;
    char buffer[4096];

    (void)state;
    for (uint64_t i = 1; i <= MANY_SEGMENTS; i++) {
        const struct live_segment segment = {.start = i << 13, .end = (i << 13) + PAGE};

        assert_int_equal(live_layout_add(&layout, &segment), 0);
    }
    live_layout_place(&layout, 0);
    notes_size = put_notes(fd, layout.notes_offset, &note, 1);
    live_layout_place(&layout, notes_size);
    while ((size = live_layout_headers(&layout, &next, buffer, sizeof(buffer))) > 0) {
        assert_int_equal(pwrite(fd, buffer, size, (off_t)at), size);
        at += size;
    }
    assert_int_equal(at, layout.notes_offset);
    size = live_layout_trailer(&layout, buffer);
    assert_int_equal(size, sizeof(Elf64_Shdr));
    assert_int_equal(pwrite(fd, buffer, size, (off_t)(layout.size - size)), size);

    shape = read_shape(fd); /* by the section header */
    assert_int_equal(shape.count, MANY_SEGMENTS + 1);
    assert_int_equal(shape.segments[MANY_SEGMENTS].p_vaddr, (uint64_t)MANY_SEGMENTS << 13);
    free_shape(&shape);
    assert_int_equal(core_info_read(fd, &info), 0); /* by the notes' place */
    assert_int_equal(info->memory.n_segments, MANY_SEGMENTS);
    assert_int_equal(info->pid, 7);
    live_layout_free(&layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SHARED(test) cmocka_unit_test_setup_teardown(test, share, unshare_it)
        SHARED(a_terabyte_of_which_three_pages_were_touched_costs_nothing),
        SHARED(without_the_ioctl_the_same_pages_are_found),
        SHARED(without_the_ioctl_the_core_is_the_same),
        SHARED(holes_of_large_shared_memory_are_not_filled),
        SHARED(what_was_cut_off_a_mapped_file_is_zeros_and_counted),
        SHARED(guard_pages_are_not_missed),
        SHARED(a_process_that_is_killed_meanwhile_ends_in_zeros_that_are_counted),
        SHARED(a_process_that_was_killed_before_is_told),
        SHARED(an_undumpable_process_is_read_through_what_was_opened_before),
        SHARED(what_the_live_process_tells_is_what_its_core_tells),
        cmocka_unit_test(more_segments_than_the_header_can_count_are_laid_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
