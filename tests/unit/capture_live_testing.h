#pragma once

/*
 * For the tests of a held process: a tracer that stops a child at its fatal signal, as PID 1 does,
 * and makes its record. The child can be let go, to leave the kernel's own core.
 */

#include "capture_testing.h"

#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "capture/live_process.h"
#include "trace/thread_note.h"
#include "util/proc_text.h"

struct held {
    struct crash_record record;
    int status; /* its end, once it was let go */
};

/* Saves a thread's register sets as thread_note.h says. */
static void save_thread(pid_t tid, bool is_crashing, int fd)
{
    static const unsigned sets[] = {NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE};
    static const char padding[8];
    _Alignas(64) char data[THREAD_NOTE_MAX];

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct iovec part = {data, sizeof(data)};
        struct thread_note note = {.tid = tid, .type = sets[i]};

        if (ptrace(PTRACE_GETREGSET, tid, (long)sets[i], &part) < 0)
            continue;
        note.size = (uint32_t)part.iov_len;
        assert_int_equal(write_all(fd, &note, sizeof(note)), 0);
        assert_int_equal(write_all(fd, data, note.size), 0);
        assert_int_equal(write_all(fd, padding, -note.size % 8), 0);
    }
    if (is_crashing) {
        const struct thread_note note = {.tid = tid, .type = NT_SIGINFO, .size = sizeof(siginfo_t)};
        siginfo_t siginfo;

        assert_int_equal(ptrace(PTRACE_GETSIGINFO, tid, 0, &siginfo), 0);
        assert_int_equal(write_all(fd, &note, sizeof(note)), 0);
        assert_int_equal(write_all(fd, &siginfo, sizeof(siginfo)), 0);
    }
}

/* Stops a thread. Returns false where it has ended, as the first one may before the others. */
static bool stop_thread(pid_t tid)
{
    char stat[1024];
    int status;

    read_proc(tid, "stat", stat, sizeof(stat));
    if (*proc_stat_field(stat, PROC_STAT_STATE) == 'Z' || ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
        return false;
    assert_int_equal(waitpid(tid, &status, __WALL), tid);
    return true;
}

/* Stops all threads but the crashing one, and saves all. */
static void save_threads(struct crash_record *record)
{
    char path[64];
    const struct dirent *entry;
    DIR *tasks;

    record->threads_fd = memfd_create("threads", MFD_CLOEXEC);
    assert_true(record->threads_fd >= 0);
    save_thread(record->crash_tid, true, record->threads_fd);
    snprintf(path, sizeof(path), "/proc/%d/task", record->pid);
    tasks = opendir(path);
    assert_non_null(tasks);
    while ((entry = readdir(tasks))) {
        pid_t tid = atoi(entry->d_name);

        if (tid > 0 && tid != record->crash_tid && stop_thread(tid))
            save_thread(tid, false, record->threads_fd);
    }
    closedir(tasks);
}

static int open_proc_file(pid_t tid, const char *name)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* What is opened while it is allowed; a child that means to forbid it raises SIGUSR1 before. */
static void open_memory(struct crash_record *record, pid_t tid)
{
    _cleanup_close_ int fd = -1;
    ssize_t n;

    if (record->mem_fd >= 0)
        return;
    record->mem_fd = open_proc_file(tid, "mem");
    record->smaps_fd = open_proc_file(tid, "smaps");
    record->pagemap_fd = open_proc_file(tid, "pagemap");
    fd = open_proc_file(tid, "auxv");
    n = read_full(fd, record->auxv, sizeof(record->auxv));
    assert_true(n > 0);
    record->auxv_size = (uint32_t)n;
}

/* Waits until a thread of the child is about to die of a signal. Returns that signal. */
static int wait_for_crash(struct crash_record *record)
{
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);

        assert_true(tid > 0);
        if (!WIFSTOPPED(status)) {
            assert_int_not_equal(tid, record->pid); /* it mustn't end before it crashed */
            continue;
        }
        if (status >> 16 == 0 && WSTOPSIG(status) != SIGUSR1) {
            record->crash_tid = tid;
            return WSTOPSIG(status);
        }
        if (WSTOPSIG(status) == SIGUSR1)
            open_memory(record, tid);
        ptrace(PTRACE_CONT, tid, 0, status >> 16 ? 0L : (long)WSTOPSIG(status));
    }
}

/* What a test that failed has left behind. */
static pid_t left_behind;

static void kill_left_behind(void)
{
    if (left_behind == 0)
        return;
    kill(left_behind, SIGKILL);
    while (waitpid(-1, NULL, __WALL) > 0)
        ;
    left_behind = 0;
}

/*
 * Runs a function in a child whose working directory is @cwd until a signal would kill it, and
 * makes the record of what is held then.
 *
 * @limit  of the kernel's core, once the child is let go
 */
NOINLINE static void hold(const char *cwd, rlim_t limit, void (*crash)(void), struct held *ret)
{
    struct crash_record *record = &ret->record;
    int barrier[2];
    char byte;

    kill_left_behind();
    memset(ret, 0, sizeof(*ret));
    assert_int_equal(pipe2(barrier, O_CLOEXEC), 0);
    record->pid = fork();
    assert_true(record->pid >= 0);
    if (record->pid == 0) {
        close(barrier[1]);
        prepare_to_crash(cwd, limit);
        if (read(barrier[0], &byte, 1) != 0)
            _exit(95);
        crash();
        _exit(97);
    }
    left_behind = record->pid;
    close(barrier[0]);
    assert_int_equal(
        ptrace(PTRACE_SEIZE, record->pid, 0L, (long)(PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)), 0);
    close(barrier[1]);

    record->magic = CRASH_RECORD_MAGIC;
    record->version = CRASH_RECORD_VERSION;
    record->size = sizeof(*record);
    record->wait_code = CLD_DUMPED;
    record->exe_fd = record->maps_fd = record->release_fd = -1;
    record->mem_fd = record->smaps_fd = record->pagemap_fd = -1;
    record->wait_status = wait_for_crash(record);
    record->is_held = true;
    open_memory(record, record->crash_tid);
    save_threads(record);
}

/* Lets the child die of its signal, if it is there yet. */
UNUSED static void let_go(struct held *held)
{
    const struct crash_record *record = &held->record;
    int status;
    pid_t tid;

    (void)ptrace(PTRACE_CONT, record->crash_tid, 0, (long)record->wait_status);
    /* The first thread's end is told when all others have ended. */
    while ((tid = waitpid(-1, &status, __WALL)) > 0) {
        if (tid != record->pid || WIFSTOPPED(status))
            continue;
        held->status = status;
        break;
    }
    left_behind = 0;
    close(record->mem_fd);
    close(record->smaps_fd);
    close(record->pagemap_fd);
    close(record->threads_fd);
}

UNUSED static struct live_process *open_live(const struct held *held)
{
    struct live_process *process = NULL;

    assert_int_equal(live_process_open(&held->record, NULL, &process), 0);
    return process;
}

/* Writes a stream to a file; holes stay holes. Returns the bytes that had data. */
UNUSED static uint64_t write_stream(struct core_source *source, int fd)
{
    struct core_run run;
    uint64_t at = 0, data = 0;
    int r;

    while ((r = source->next(source, &run)) > 0) {
        assert_true(run.size > 0);
        assert_true(!run.data || run.size <= 1 << 20);
        if (run.data) {
            assert_int_equal(pwrite(fd, run.data, run.size, (off_t)at), run.size);
            data += run.size;
        }
        at += run.size;
    }
    assert_int_equal(r, 0);
    assert_int_equal(at, source->size);
    assert_int_equal(ftruncate(fd, (off_t)at), 0);
    return data;
}

/* Captures a held process to a file. Returns its descriptor. */
UNUSED static int capture(struct live_process *process, const char *path)
{
    _cleanup_core_source_ struct core_source *source = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(live_core_source(process, &source), 0);
    assert_int_equal(source->size, process->info->file_size);
    write_stream(source, fd);
    return fd;
}

/* A core's structure, for a look at it. */

struct core_shape {
    int fd;
    Elf64_Ehdr header;
    size_t count;
    Elf64_Phdr *segments;
    char *notes;
};

UNUSED static struct core_shape read_shape(int fd)
{
    struct core_shape shape = {.fd = fd};

    assert_int_equal(pread_full(fd, &shape.header, sizeof(shape.header), 0), sizeof(shape.header));
    shape.count = shape.header.e_phnum;
    if (shape.count == PN_XNUM) {
        Elf64_Shdr section;

        assert_int_equal(pread_full(fd, &section, sizeof(section), shape.header.e_shoff),
                         sizeof(section));
        shape.count = section.sh_info;
    }
    shape.segments = calloc(shape.count, sizeof(Elf64_Phdr));
    assert_non_null(shape.segments);
    assert_int_equal(
        pread_full(fd, shape.segments, shape.count * sizeof(Elf64_Phdr), shape.header.e_phoff),
        shape.count * sizeof(Elf64_Phdr));
    assert_int_equal(shape.segments[0].p_type, PT_NOTE);
    shape.notes = malloc(shape.segments[0].p_filesz);
    assert_non_null(shape.notes);
    assert_int_equal(
        pread_full(fd, shape.notes, shape.segments[0].p_filesz, shape.segments[0].p_offset),
        shape.segments[0].p_filesz);
    return shape;
}

UNUSED static void free_shape(struct core_shape *shape)
{
    free(shape->segments);
    free(shape->notes);
}
