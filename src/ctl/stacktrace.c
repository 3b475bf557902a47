#include "ctl/stacktrace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture/gdb.h"
#include "capture/stack.h"
#include "ctl/delivery.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* libdw needs far less than a second; more means that the core leads it astray. */
#define UNWIND_SECONDS 20

/* gdb reads all debug information first, and may hang: what it costs is bounded by this. */
#define GDB_SECONDS 120

/* Frames of the crashing thread in crash.json. */
#define TOP_FRAMES 32

#define SECOND_NS 1000000000ll
#define WAIT_STEP_NS 5000000

static void print_heading(FILE *out, const struct bundle *bundle)
{
    const struct core_info *info = bundle->info;

    fprintf(out, "%s: pid %d, ", bundle->id, info->pid);
    for (const char *at = info->comm; *at; at++) /* the program chose it */
        fputc(*at >= ' ' && *at < 0x7f ? *at : '?', out);
    if (info->signo)
        fprintf(out, ", killed by signal %d (SIG%s)", info->signo,
                sigabbrev_np(info->signo) ? sigabbrev_np(info->signo) : "?");
    if (bundle->snapshot)
        fputs(", a snapshot of the running process", out);
    if (info->knows_executable)
        fprintf(out, ", %s", info->modules[0].path);
    if (info->knows_executable && info->modules[0].build_id[0])
        fprintf(out, ", build-id %s", info->modules[0].build_id);
    fputc('\n', out);
    if (info->truncated)
        fprintf(out,
                "The core is truncated: %llu of %llu bytes. What lies behind the cut is missing "
                "below.\n",
                (unsigned long long)info->file_size, (unsigned long long)info->expected_size);
    fputc('\n', out);
}

struct unwinding {
    const struct core_info *info;
    int text_fd, frames_fd;
    enum log_level level;
};

/* Threads as text, the crashing one first; to be freed; NULL where there is no memory. */
static char *print_threads(const struct stack_thread *threads, size_t n_threads,
                           const struct core_info *info)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    for (size_t i = 0; memory && i < n_threads; i++) {
        if (i > 0)
            fputc('\n', memory);
        stack_print_thread(memory, &threads[i], info);
        if (i == 0)
            stack_print_build_ids(memory, &threads[i]);
    }
    if (memory && fclose(memory) == 0)
        return text;
    free(text);
    return NULL;
}

/* Puts a text in the place of all that a file held. */
static int replace_content(int fd, const char *text)
{
    const size_t size = strlen(text);

    return pwrite(fd, text, size, 0) == (ssize_t)size && ftruncate(fd, (off_t)size) == 0 ? 0 : -EIO;
}

/* Keeps a text, and what crash.json tells of the crashing thread, in place of what was kept. */
static int keep(const struct unwinding *unwinding, const char *text,
                const struct stack_thread *crashing)
{
    json_t *frames = stack_to_json(crashing, TOP_FRAMES);
    _cleanup_free_ char *json = frames ? json_dumps(frames, JSON_COMPACT) : NULL;

    json_decref(frames);
    if (!text || !json)
        return -ENOMEM;
    return replace_content(unwinding->text_fd, text) < 0
               ? -EIO
               : replace_content(unwinding->frames_fd, json);
}

/* Into the log, and out of this process, before the other threads. */
static void tell_crashing_thread(const struct stack_thread *thread, void *context)
{
    const struct unwinding *unwinding = context;
    _cleanup_free_ char *text = print_threads(thread, 1, unwinding->info);

    for (const char *line = text ? text : ""; *line;) {
        const size_t length = strcspn(line, "\n");

        log_line(unwinding->level, "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    (void)keep(unwinding, text, thread);
}

static int unwind(struct unwinding *unwinding, int memory_fd, int exe_fd)
{
    _cleanup_stack_ struct stack *stack = NULL;
    _cleanup_free_ char *text = NULL;
    char exe_path[32];
    int r;

    snprintf(exe_path, sizeof(exe_path), "/proc/self/fd/%d", exe_fd);
    r = stack_unwind(memory_fd, exe_fd >= 0 ? exe_path : NULL, unwinding->info,
                     tell_crashing_thread, unwinding, &stack);
    if (r < 0 || stack->n_threads == 0)
        return r;
    text = print_threads(stack->threads, stack->n_threads, unwinding->info);
    return keep(unwinding, text, &stack->threads[0]);
}

static void load_frames(int frames_fd, struct stacktrace *trace)
{
    if (lseek(frames_fd, 0, SEEK_SET) == 0)
        trace->frames = json_loadfd(frames_fd, 0, NULL);
}

/*
 * Waits for a child's end, without reaping it, until @until_ns or the deadline, which may move.
 * Returns when the waiting has an end.
 */
static int64_t await_end(pid_t pid, int64_t until_ns, struct deadline *deadline)
{
    const struct timespec step = {.tv_nsec = WAIT_STEP_NS};
    int64_t limit_ns;
    siginfo_t info;

    for (;;) {
        limit_ns = deadline_to_make(deadline);
        if (until_ns < limit_ns)
            limit_ns = until_ns;
        info.si_pid = 0;
        if (monotonic_ns() >= limit_ns ||
            waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0)
            return limit_ns;
        nanosleep(&step, NULL);
    }
}

int stacktrace_start_unwind(const struct bundle *bundle, int memory_fd, int exe_fd,
                            struct deadline *deadline, struct stacktrace *ret)
{
    struct unwinding unwinding = {.info = bundle->info,
                                  .level = bundle->snapshot ? LEVEL_NOTICE : LEVEL_ERROR};

    *ret = (struct stacktrace){
        .bundle = bundle,
        .deadline = deadline,
        .text_fd = -1,
        .core_fd = -1,
        .gdb_fd = -1,
        .unwound_fd = memfd_create("stacktrace", MFD_CLOEXEC),
        .frames_fd = memfd_create("frames", MFD_CLOEXEC),
        .unwind_deadline = monotonic_ns() + UNWIND_SECONDS * SECOND_NS,
    };
    unwinding.text_fd = ret->unwound_fd;
    unwinding.frames_fd = ret->frames_fd;
    if (ret->unwound_fd < 0 || ret->frames_fd < 0)
        return log_errno(errno, "cannot unwind the stack: no memfd");
    ret->unwinder = fork();
    if (ret->unwinder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_fd(bundle->record->release_fd); /* whether the process is held isn't ours to say */
        _exit(unwind(&unwinding, memory_fd, exe_fd) < 0);
    }
    if (ret->unwinder > 0)
        return 0;
    ret->unwinder = 0;
    return log_errno(errno, "cannot unwind the stack: no process could be made");
}

int stacktrace_finish_unwind(struct stacktrace *trace)
{
    const pid_t pid = trace->unwinder;
    int status = 0, r;

    if (!pid)
        return -ENODATA;
    trace->unwinder = 0;
    r = child_wait(pid, await_end(pid, trace->unwind_deadline, trace->deadline), &status);
    if (r == -ETIMEDOUT)
        log_warning("unwinding was cut off at its deadline");
    else if (r == 0 && WIFSIGNALED(status))
        log_warning("libdw died of signal %d over this crash", WTERMSIG(status));

    load_frames(trace->frames_fd, trace);
    /* However it ended, the threads that it had told by then stand. */
    if (!trace->frames)
        return -ENODATA;
    trace->text_fd = take_fd(&trace->unwound_fd);
    return 0;
}

int stacktrace_write(void *context, struct sink *sink)
{
    struct stacktrace *trace = context;
    _cleanup_free_ char *heading = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&heading, &size);
    int r;

    if (!memory)
        return -ENOMEM;
    print_heading(memory, trace->bundle);
    if (fclose(memory) != 0)
        return -ENOMEM;
    r = sink_write(sink, heading, size);
    return r < 0 ? r : write_file(&trace->text_fd, sink);
}

int stacktrace_start_gdb(struct stacktrace *trace, int core_fd, int exe_fd,
                         unsigned collect_timeout)
{
    /* The artifacts want their part of the time too. */
    unsigned seconds =
        collect_timeout && collect_timeout / 3 < GDB_SECONDS ? collect_timeout / 3 : GDB_SECONDS;
    const int root_fd = trace->bundle->info ? trace->bundle->info->root_fd : 0;
    const struct gdb_files files = {core_fd, exe_fd, root_fd > 0 ? root_fd : -1};
    int r;

    trace->core_fd = core_fd;
    trace->gdb_fd = memfd_create("gdb", MFD_CLOEXEC);
    if (trace->gdb_fd < 0)
        return -errno;
    r = gdb_start(&files, trace->gdb_fd, &trace->gdb);
    if (r < 0)
        trace->gdb = 0;
    trace->gdb_deadline = monotonic_ns() + seconds * SECOND_NS;
    return r;
}

int stacktrace_finish_gdb(struct stacktrace *trace)
{
    _cleanup_close_ int clean_fd = -1;
    int r;

    if (!trace->gdb)
        return 0;
    r = gdb_finish(trace->gdb, await_end(trace->gdb, trace->gdb_deadline, trace->deadline));
    trace->gdb = 0;
    if (r == -ETIMEDOUT)
        log_warning("gdb was cut off at its deadline; what it told until then is used if it has a "
                    "stack");

    clean_fd = memfd_create("stacktrace", MFD_CLOEXEC);
    if (clean_fd < 0 || lseek(trace->gdb_fd, 0, SEEK_SET) < 0 ||
        gdb_clean(trace->gdb_fd, clean_fd) != 1) {
        log_warning("gdb found no stack in this crash");
        return 0;
    }
    close_fd(trace->text_fd);
    trace->text_fd = take_fd(&clean_fd);
    return 1;
}

void stacktrace_free(struct stacktrace *trace)
{
    (void)stacktrace_finish_unwind(trace); /* the log is to have it all the same */
    close_fd(trace->unwound_fd);
    close_fd(trace->frames_fd);
    close_fd(trace->text_fd);
    close_fd(trace->core_fd);
    close_fd(trace->gdb_fd);
    json_decref(trace->frames);
}
