/* Copies of a process that goes on: by a clone of it, and of what a clone lacks. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture/live_pages.h"
#include "capture/process_clone.h"
#include "capture/process_copy.h"
#include "trace/holding.h"
#include "util/cleanup.h"

#define PAGE 4096
#define AREA (64 * PAGE)
#define LARGE (128ul << 20)

/* Shared with the process under test. */
struct shared {
    volatile unsigned long turns;
    volatile int wrong;
    char *private, *filled, *dont_fork, *wiped, *large;
};

struct subject {
    pid_t pid;
    struct shared *shared;
    int mem_fd, smaps_fd, pagemap_fd;
};

static char *area(size_t size, int flags, int advice, const char *text)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED || (advice >= 0 && madvise(memory, size, advice) < 0))
        _exit(1);
    strcpy(memory + size / 2, text);
    return memory;
}

/* Sleeps and counts; a sleep that isn't as long as it should be is wrong. */
static void be_steady(struct shared *shared)
{
    const struct timespec pause = {.tv_nsec = 20000000};

    shared->private = area(AREA, MAP_PRIVATE, -1, "private");
    shared->filled = area(AREA, MAP_PRIVATE, -1, "");
    shared->dont_fork = area(AREA, MAP_PRIVATE, MADV_DONTFORK, "dont fork");
    shared->wiped = area(AREA, MAP_PRIVATE, MADV_WIPEONFORK, "wiped");
    shared->large = area(LARGE, MAP_SHARED, -1, "large");
    for (;;) {
        struct timespec began, now;

        clock_gettime(CLOCK_MONOTONIC, &began);
        if (syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL) != 0)
            shared->wrong = 1;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - began.tv_sec) * 1000000000l + now.tv_nsec - began.tv_nsec < 20000000)
            shared->wrong = 2;
        shared->turns++;
        snprintf(shared->private, 16, "%lu", shared->turns);
        memset(shared->filled, (int)shared->turns, AREA);
    }
}

static int open_of(pid_t pid, const char *name)
{
    char path[48];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void wait_for_turns(const struct shared *shared, unsigned long turns)
{
    const unsigned long before = shared->turns;

    for (int i = 0; shared->turns < before + turns && i < 5000; i++)
        usleep(1000);
    assert_true(shared->turns >= before + turns);
    assert_int_equal(shared->wrong, 0);
}

static int set_up(void **state)
{
    static struct subject subject;

    subject.shared = mmap(NULL, sizeof(*subject.shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    subject.pid = fork();
    if (subject.pid == 0)
        be_steady(subject.shared);
    wait_for_turns(subject.shared, 1);
    subject.mem_fd = open_of(subject.pid, "mem");
    subject.smaps_fd = open_of(subject.pid, "smaps");
    subject.pagemap_fd = open_of(subject.pid, "pagemap");
    *state = &subject;
    return 0;
}

static int tear_down(void **state)
{
    struct subject *subject = *state;

    kill(subject->pid, SIGKILL);
    waitpid(subject->pid, NULL, 0);
    close(subject->mem_fd);
    close(subject->smaps_fd);
    close(subject->pagemap_fd);
    munmap(subject->shared, sizeof(*subject->shared));
    return 0;
}

static void assert_text(int fd, const char *address, const char *text)
{
    char found[16] = "";

    assert_int_equal(pread(fd, found, sizeof(found) - 1, (off_t)(uintptr_t)address),
                     sizeof(found) - 1);
    assert_string_equal(found, text);
}

static void make_clone(const struct subject *subject, struct process_clone *clone)
{
    char why[256] = "";

    assert_int_equal(holding_seize(subject->pid), 0);
    if (process_clone_make(subject->pid, clone, why, sizeof(why)) == -ENOTSUP)
        skip();
    assert_string_equal(why, "");
}

/* A zombie counts. */
static bool has_children(pid_t pid)
{
    char path[64], text[16];
    _cleanup_close_ int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, text, sizeof(text)) > 0;
}

static void a_clone_keeps_the_moment_while_the_process_goes_on(void **state)
{
    const struct subject *subject = *state;
    struct process_clone clone;
    _cleanup_close_ int mem_fd = -1;
    char begun[16], before[16] = "", after[16] = "";

    make_clone(subject, &clone);
    mem_fd = open_of(clone.pid, "mem");
    snprintf(begun, sizeof(begun), "%lu", subject->shared->turns);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    wait_for_turns(subject->shared, 3);
    assert_int_equal(pread(mem_fd, before, 15, (off_t)(uintptr_t)subject->shared->private), 15);
    assert_int_equal(pread(subject->mem_fd, after, 15, (off_t)(uintptr_t)subject->shared->private),
                     15);
    assert_string_equal(before, begun);
    assert_string_not_equal(after, begun);
    assert_text(mem_fd, subject->shared->private + AREA / 2, "private");
    process_clone_end(&clone);
    wait_for_turns(subject->shared, 3);
}

static void a_clone_is_reaped_by_the_process_without_its_knowing(void **state)
{
    const struct subject *subject = *state;
    struct process_clone clone;

    make_clone(subject, &clone);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    process_clone_end(&clone);
    assert_true(has_children(subject->pid));
    assert_int_equal(holding_seize(subject->pid), 0);
    assert_int_equal(process_clone_bury(subject->pid, &clone, NULL, 0), 0);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    assert_false(has_children(subject->pid));
    wait_for_turns(subject->shared, 3);
}

static void what_killed_tracers_left_is_found_and_reaped_too(void **state)
{
    const struct subject *subject = *state;
    struct process_clone clones[3];
    pid_t dead[8];

    for (size_t i = 0; i < 3; i++) {
        make_clone(subject, &clones[i]);
        assert_int_equal(holding_detach_stopped(subject->pid), 0);
        process_clone_end(&clones[i]);
    }
    assert_int_equal(process_clone_find_dead(subject->pid, dead, 2), 2);
    assert_int_equal(process_clone_find_dead(subject->pid, dead, 8), 3);
    assert_int_equal(process_clone_find_dead(getpid(), dead, 8), 0);
    assert_int_equal(holding_seize(subject->pid), 0);
    assert_int_equal(process_clone_bury(subject->pid, &clones[1], dead, 3), 0);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    assert_false(has_children(subject->pid));
    wait_for_turns(subject->shared, 3);
}

static void a_clone_has_no_files(void **state)
{
    const struct subject *subject = *state;
    struct process_clone clone;
    char path[64];

    make_clone(subject, &clone);
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", clone.pid, fd);
        assert_int_equal(faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW), -1);
    }
    process_clone_end(&clone);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    wait_for_turns(subject->shared, 1);
}

static void the_stub_is_gone_afterwards(void **state)
{
    const struct subject *subject = *state;
    struct process_clone clone;
    char stub[64];
    static const char nothing[sizeof(stub)];

    make_clone(subject, &clone);
    assert_int_equal(pread(subject->mem_fd, stub, sizeof(stub), (off_t)clone.site.address),
                     sizeof(stub));
    assert_memory_equal(stub, nothing, sizeof(stub));
    process_clone_end(&clone);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
}

/* In a child of the test, which is killed while the process makes its call. */
static void a_tracer_that_dies_leaves_the_process_as_it_was(void **state)
{
    const struct subject *subject = *state;

    for (int i = 0; i < 60; i++) {
        const struct timespec moment = {.tv_nsec = 50000l * i};
        pid_t tracer = fork();

        if (tracer == 0) {
            struct process_clone clone;
            char why[256];

            (void)holding_seize(subject->pid);
            (void)process_clone_make(subject->pid, &clone, why, sizeof(why));
            for (;;)
                pause();
        }
        nanosleep(&moment, NULL);
        assert_int_equal(kill(tracer, SIGKILL), 0);
        assert_int_equal(waitpid(tracer, NULL, 0), tracer);
    }
    wait_for_turns(subject->shared, 3);
}

static void what_a_clone_lacks_is_copied(void **state)
{
    const struct subject *subject = *state;
    struct process_copy copy;

    process_copy_init(&copy);
    assert_int_equal(process_copy_list(subject->smaps_fd, subject->mem_fd, subject->pagemap_fd,
                                       0x33, false, &copy),
                     0);
    assert_int_equal(copy.mappings.count, 2);
    assert_int_equal(process_copy_size(&copy, subject->pagemap_fd), 2 * PAGE);
    assert_int_equal(process_copy_take(&copy, subject->pid, subject->mem_fd, subject->pagemap_fd),
                     0);
    assert_text(copy.fd, subject->shared->dont_fork + AREA / 2, "dont fork");
    assert_text(copy.fd, subject->shared->wiped + AREA / 2, "wiped");
    assert_text(copy.fd, subject->shared->private + AREA / 2, "");
    assert_int_equal(copy.n_shared, 1);
    assert_int_equal(copy.shared[0].start, (uintptr_t)subject->shared->large + LARGE / 2);
    process_copy_free(&copy);
}

static void list_whole(const struct subject *subject, struct process_copy *copy)
{
    assert_int_equal(process_copy_list(subject->smaps_fd, subject->mem_fd, subject->pagemap_fd,
                                       0x33, true, copy),
                     0);
}

static void a_whole_copy_has_holes_where_nothing_was_touched(void **state)
{
    const struct subject *subject = *state;
    const uint64_t start = (uintptr_t)subject->shared->private;
    struct process_copy copy;
    struct live_pages pages = {.is_copied = true};
    struct live_range range;

    process_copy_init(&copy);
    assert_int_equal(holding_seize(subject->pid), 0);
    list_whole(subject, &copy);
    assert_int_equal(process_copy_take(&copy, subject->pid, subject->mem_fd, subject->pagemap_fd),
                     0);
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    assert_int_equal(copy.unreadable, 0);
    assert_text(copy.fd, subject->shared->private + AREA / 2, "private");
    assert_text(copy.fd, subject->shared->large + LARGE / 2, "large");
    pages.copy_fd = copy.fd;
    live_pages_begin(&pages, start, start + AREA);
    assert_int_equal(live_pages_next(&pages, &range), 1); /* that the process counts in */
    assert_true(range.start == start && range.end == start + PAGE);
    assert_int_equal(live_pages_next(&pages, &range), 1);
    assert_int_equal(range.start, start + AREA / 2);
    assert_int_equal(range.end, start + AREA / 2 + PAGE);
    assert_int_equal(live_pages_next(&pages, &range), 0);
    wait_for_turns(subject->shared, 1);
    process_copy_free(&copy);
}

static void a_prepared_copy_holds_what_the_process_had_when_it_was_held(void **state)
{
    const struct subject *subject = *state;
    const off_t filled = (off_t)(uintptr_t)subject->shared->filled;
    static char own[AREA], copied[AREA];
    struct process_copy copy;

    process_copy_init(&copy);
    list_whole(subject, &copy);
    assert_int_equal(process_copy_prepare(&copy, subject->pagemap_fd), 0);
    assert_true(copy.prepared >= AREA);
    wait_for_turns(subject->shared, 3);
    assert_int_equal(holding_seize(subject->pid), 0);
    list_whole(subject, &copy);
    assert_int_equal(process_copy_take(&copy, subject->pid, subject->mem_fd, subject->pagemap_fd),
                     0);
    assert_int_equal(pread(subject->mem_fd, own, AREA, filled), AREA);
    assert_int_equal(pread(copy.fd, copied, AREA, filled), AREA);
    assert_memory_equal(own, copied, AREA);
    assert_text(copy.fd, subject->shared->private + AREA / 2, "private");
    assert_int_equal(holding_detach_stopped(subject->pid), 0);
    wait_for_turns(subject->shared, 1);
    process_copy_free(&copy);
}

static void listed_pages_are_told_within_a_range_alone(void **state)
{
    static const struct live_range listed[] = {
        {0x1000, 0x3000}, {0x5000, 0x9000}, {0xb000, 0xc000}};
    struct live_pages pages = {.is_listed = true, .listed = listed, .n_listed = 3};
    struct live_range range;

    (void)state;
    live_pages_begin(&pages, 0x2000, 0x7000);
    assert_int_equal(live_pages_next(&pages, &range), 1);
    assert_true(range.start == 0x2000 && range.end == 0x3000);
    assert_int_equal(live_pages_next(&pages, &range), 1);
    assert_true(range.start == 0x5000 && range.end == 0x7000);
    assert_int_equal(live_pages_next(&pages, &range), 0);
}

static void an_overlay_takes_the_place_of_what_begins_where_it_does(void **state)
{
    struct live_mapping own[] = {{.start = 0x1000, .end = 0x2000},
                                 {.start = 0x4000, .end = 0x6000}},
                        over[] = {{.start = 0x2000, .end = 0x3000, .is_copied = true},
                                  {.start = 0x4000, .end = 0x6000, .is_copied = true},
                                  {.start = 0x5000, .end = 0x7000, .is_copied = true}};
    struct live_mappings mappings = {0};
    const struct live_mappings first = {.entries = own, .count = 2},
                               second = {.entries = over, .count = 3};

    (void)state;
    assert_int_equal(live_mappings_overlay(&mappings, &first), 0);
    assert_int_equal(live_mappings_overlay(&mappings, &second), 0);
    assert_int_equal(mappings.count, 3);
    assert_int_equal(mappings.entries[0].start, 0x1000);
    assert_int_equal(mappings.entries[1].start, 0x2000);
    assert_int_equal(mappings.entries[2].end, 0x6000);
    assert_true(mappings.entries[2].is_copied && !mappings.entries[0].is_copied);
    live_mappings_free(&mappings);
}

int main(void)
{
#define SUBJECT_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SUBJECT_TEST(a_clone_keeps_the_moment_while_the_process_goes_on),
        SUBJECT_TEST(a_clone_is_reaped_by_the_process_without_its_knowing),
        SUBJECT_TEST(what_killed_tracers_left_is_found_and_reaped_too),
        SUBJECT_TEST(a_clone_has_no_files),
        SUBJECT_TEST(the_stub_is_gone_afterwards),
        SUBJECT_TEST(a_tracer_that_dies_leaves_the_process_as_it_was),
        SUBJECT_TEST(what_a_clone_lacks_is_copied),
        SUBJECT_TEST(a_whole_copy_has_holes_where_nothing_was_touched),
        SUBJECT_TEST(a_prepared_copy_holds_what_the_process_had_when_it_was_held),
        cmocka_unit_test(listed_pages_are_told_within_a_range_alone),
        cmocka_unit_test(an_overlay_takes_the_place_of_what_begins_where_it_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
