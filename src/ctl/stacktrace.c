#include "ctl/stacktrace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/gdb.h"
#include "capture/stack.h"
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

static void print_heading(FILE *out, const struct bundle *bundle)
{
    const struct core_info *info = bundle->info;

    fprintf(out, "%s: pid %d, ", bundle->id, info->pid);
    for (const char *at = info->comm; *at; at++) /* the program chose it */
        fputc(*at >= ' ' && *at < 0x7f ? *at : '?', out);
    if (info->signo)
        fprintf(out, ", killed by signal %d (SIG%s)", info->signo,
                sigabbrev_np(info->signo) ? sigabbrev_np(info->signo) : "?");
    if (info->knows_executable)
        fprintf(out, ", %s", info->modules[0].path);
    fputc('\n', out);
    if (info->truncated)
        fprintf(out,
                "The core is truncated: %llu of %llu bytes. What lies behind the cut is missing "
                "below.\n",
                (unsigned long long)info->file_size, (unsigned long long)info->expected_size);
    fputc('\n', out);
}

struct unwinding {
    const struct bundle *bundle;
    FILE *text;
    FILE *frames;
};

/* The crashing thread is known: into the file, into the log and out for crash.json, before the
 * others. */
static void tell_crashing_thread(const struct stack_thread *thread, void *context)
{
    struct unwinding *unwinding = context;
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    json_t *frames;

    if (!memory)
        return;
    stack_print_thread(memory, thread, unwinding->bundle->info);
    fclose(memory);
    fputs(text, unwinding->text);
    fflush(unwinding->text);
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        if (line[0])
            log_error("%s", line);

    frames = stack_to_json(thread, TOP_FRAMES);
    if (frames)
        json_dumpf(frames, unwinding->frames, JSON_COMPACT);
    json_decref(frames);
    fflush(unwinding->frames);
}

static int unwind(const struct bundle *bundle, const struct kernel_core *core, int exe_fd,
                  int text_fd, int frames_fd)
{
    struct unwinding unwinding = {.bundle = bundle};
    struct stack *stack = NULL;
    char exe_path[32];
    int r;

    unwinding.text = fdopen(text_fd, "w");
    unwinding.frames = fdopen(frames_fd, "w");
    if (!unwinding.text || !unwinding.frames)
        return -errno;
    snprintf(exe_path, sizeof(exe_path), "/proc/self/fd/%d", exe_fd);
    print_heading(unwinding.text, bundle);
    r = stack_unwind_core(core->fd, exe_fd >= 0 ? exe_path : NULL, bundle->info,
                          tell_crashing_thread, &unwinding, &stack);
    /* The first thread is there already, by the callback. */
    for (size_t i = 1; r == 0 && i < stack->n_threads; i++) {
        fputc('\n', unwinding.text);
        stack_print_thread(unwinding.text, &stack->threads[i], bundle->info);
    }
    stack_free(stack);
    if (fclose(unwinding.text) != 0 || fclose(unwinding.frames) != 0)
        return -EIO;
    return r;
}

static void load_frames(int frames_fd, struct stacktrace *trace)
{
    if (lseek(frames_fd, 0, SEEK_SET) == 0)
        trace->frames = json_loadfd(frames_fd, 0, NULL);
}

int stacktrace_unwind(const struct bundle *bundle, const struct kernel_core *core, int exe_fd,
                      struct stacktrace *ret)
{
    _cleanup_close_ int text_fd = memfd_create("stacktrace", MFD_CLOEXEC);
    _cleanup_close_ int frames_fd = memfd_create("frames", MFD_CLOEXEC);
    int status = 0;
    pid_t pid;
    int r;

    *ret = (struct stacktrace){.text_fd = -1, .gdb_fd = -1};
    if (text_fd < 0 || frames_fd < 0)
        return log_errno(errno, "cannot unwind the core: no memfd");
    pid = fork();
    if (pid < 0)
        return log_errno(errno, "cannot unwind the core: no process could be made");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(unwind(bundle, core, exe_fd, text_fd, frames_fd) < 0);
    }
    r = child_wait(pid, monotonic_ns() + UNWIND_SECONDS * SECOND_NS, &status);
    if (r == -ETIMEDOUT)
        log_warning("unwinding was cut off after %d s", UNWIND_SECONDS);
    else if (r == 0 && WIFSIGNALED(status))
        log_warning("libdw died of signal %d over this core", WTERMSIG(status));

    load_frames(frames_fd, ret);
    /* However it ended, the threads that it had told by then stand. */
    if (!ret->frames)
        return -ENODATA;
    ret->text_fd = take_fd(&text_fd);
    return 0;
}

int stacktrace_start_gdb(struct stacktrace *trace, const struct kernel_core *core, int exe_fd,
                         unsigned collect_timeout)
{
    /* The artifacts want their part of the time too. */
    unsigned seconds =
        collect_timeout && collect_timeout / 3 < GDB_SECONDS ? collect_timeout / 3 : GDB_SECONDS;
    char core_path[48], exe_path[48];
    int r;

    snprintf(core_path, sizeof(core_path), "/proc/%d/fd/%d", getpid(), core->fd);
    snprintf(exe_path, sizeof(exe_path), "/proc/%d/fd/%d", getpid(), exe_fd);
    trace->gdb_fd = memfd_create("gdb", MFD_CLOEXEC);
    if (trace->gdb_fd < 0)
        return -errno;
    r = gdb_start(core_path, exe_fd >= 0 ? exe_path : NULL, trace->gdb_fd, &trace->gdb);
    if (r < 0)
        trace->gdb = 0;
    trace->gdb_deadline = monotonic_ns() + seconds * SECOND_NS;
    return r;
}

int stacktrace_finish_gdb(struct stacktrace *trace, const struct bundle *bundle)
{
    _cleanup_close_ int clean_fd = -1;
    FILE *heading;
    int r;

    if (!trace->gdb)
        return 0;
    r = gdb_finish(trace->gdb, trace->gdb_deadline);
    trace->gdb = 0;
    if (r == -ETIMEDOUT)
        log_warning("gdb was cut off at its deadline; what it told until then is used if it has a "
                    "stack");

    clean_fd = memfd_create("stacktrace", MFD_CLOEXEC);
    heading = clean_fd < 0 ? NULL : fdopen(dup(clean_fd), "w");
    if (!heading)
        return 0;
    print_heading(heading, bundle);
    fclose(heading);
    if (lseek(clean_fd, 0, SEEK_END) < 0 || lseek(trace->gdb_fd, 0, SEEK_SET) < 0 ||
        gdb_clean(trace->gdb_fd, clean_fd) != 1) {
        log_warning("gdb found no stack in this core");
        return 0;
    }
    close_fd(trace->text_fd);
    trace->text_fd = take_fd(&clean_fd);
    return 1;
}

void stacktrace_free(struct stacktrace *trace)
{
    close_fd(trace->text_fd);
    close_fd(trace->gdb_fd);
    json_decref(trace->frames);
}
