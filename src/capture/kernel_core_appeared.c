#include "capture/kernel_core.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "capture/build_id.h"
#include "capture/core_layout.h"
#include "capture/core_search.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

#define SECOND_NS 1000000000ll

/* File systems stamp with a coarser clock than the one that dates a process's start. */
#define TIMESTAMP_SLACK_NS SECOND_NS

#define MAX_GENERATIONS 32

/* An expanded core_pattern, every character escaped. */
#define MOST_PATTERN 1024

struct appeared {
    const struct crash_record *record;
    const struct core_settings *settings;
    pid_t coreinit;
    struct kernel_core *core; /* NULL: not opened */
    struct stat file;
    int64_t written; /* as @started of struct process */
    bool is_ours;    /* for certain */
    int error;
    char *why;
    size_t why_size;
};

/* Always false: a judge says it in one line. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct appeared *appeared,
                                                         const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(appeared->why, appeared->why_size, format, arguments);
    va_end(arguments);
    return false;
}

/* A process as procfs shows it now. */
struct process {
    char state; /* 'Z' for a zombie */
    pid_t ppid;
    int64_t started; /* CLOCK_BOOTTIME in nanoseconds */
};

static bool look_at(pid_t pid, struct process *ret)
{
    char path[32], text[1024];
    const char *state, *parent, *start;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (pid <= 0 || read_text_at(AT_FDCWD, path, text, sizeof(text)) < 0)
        return false;
    state = proc_stat_field(text, PROC_STAT_STATE);
    parent = proc_stat_field(text, PROC_STAT_PPID);
    start = proc_stat_field(text, PROC_STAT_STARTTIME);
    if (!start)
        return false;
    ret->state = *state;
    ret->ppid = (pid_t)strtol(parent, NULL, 10);
    ret->started = (int64_t)strtoull(start, NULL, 10) * (SECOND_NS / sysconf(_SC_CLK_TCK));
    return true;
}

static bool is_descendant(pid_t pid, pid_t ancestor)
{
    struct process process;

    for (int i = 0; i < MAX_GENERATIONS && pid != ancestor; i++) {
        if (!look_at(pid, &process))
            return false;
        pid = process.ppid;
    }
    return pid == ancestor;
}

static int64_t in_ns(const struct timespec *time)
{
    return time->tv_sec * SECOND_NS + time->tv_nsec;
}

static int64_t since_boot(const struct timespec *realtime)
{
    struct timespec now_realtime, now_boottime;

    clock_gettime(CLOCK_REALTIME, &now_realtime);
    clock_gettime(CLOCK_BOOTTIME, &now_boottime);
    return in_ns(realtime) - in_ns(&now_realtime) + in_ns(&now_boottime);
}

static bool judge_file(struct appeared *appeared)
{
    struct process coreinit;

    if (appeared->file.st_nlink != 1)
        return refuse(appeared, "it has %lu links", (unsigned long)appeared->file.st_nlink);
    if (!look_at(appeared->coreinit, &coreinit))
        return refuse(appeared, "there is no telling whose it is without /proc");
    if (appeared->written + TIMESTAMP_SLACK_NS < coreinit.started)
        return refuse(appeared, "it is older than coreinit");
    return true;
}

static bool judge_name(struct appeared *appeared)
{
    const struct core_info *info = appeared->core->info;
    struct core_pattern_subject who = CORE_PATTERN_SUBJECT_UNKNOWN;
    char pattern[MOST_PATTERN];
    const char *slash;
    struct utsname host;

    who.pid = info->pid;
    who.signo = info->signo;
    if (uname(&host) == 0)
        who.hostname = host.nodename;
    if (core_pattern_expand(appeared->settings->pattern, appeared->settings->uses_pid, &who,
                            pattern, sizeof(pattern)) < 0)
        return refuse(appeared, "core_pattern isn't a file's any more");
    slash = strrchr(pattern, '/');
    if (fnmatch(slash ? slash + 1 : pattern, appeared->core->name, 0) != 0)
        return refuse(appeared, "core_pattern '%s' doesn't call a core of pid %d so on this host",
                      appeared->settings->pattern, info->pid);
    return true;
}

/* The end of its process comes to coreinit by wait(2), and takes another way. */
static bool judge_parent(struct appeared *appeared)
{
    const struct core_info *info = appeared->core->info;

    if (info->ppid != appeared->coreinit)
        return true;
    return refuse(appeared,
                  "it is the core of pid %d, %s, a child of pid %d: coreinit sees the end of its "
                  "children itself",
                  info->pid, info->comm, info->ppid);
}

static bool judge_life(struct appeared *appeared)
{
    const struct core_info *info = appeared->core->info;
    struct process process;

    if (!look_at(info->pid, &process) ||
        process.started > appeared->written + TIMESTAMP_SLACK_NS) /* its pid is another's by now */
        return true;
    if (process.state != 'Z' && process.state != 'X')
        return refuse(appeared, "it is the core of pid %d, %s, which lives here", info->pid,
                      info->comm);
    appeared->core->stays = true;
    return true;
}

static bool judge_descent(struct appeared *appeared)
{
    const struct core_info *info = appeared->core->info;
    struct process parent;

    if (appeared->is_ours || (info->ppid > 0 && info->ppid == appeared->record->pid) ||
        (look_at(info->ppid, &parent) && parent.started <= appeared->written + TIMESTAMP_SLACK_NS &&
         is_descendant(info->ppid, appeared->coreinit)))
        return true;
    return refuse(appeared,
                  "it is the core of pid %d, %s, a child of pid %d, which is no descendant of "
                  "coreinit's",
                  info->pid, info->comm, info->ppid);
}

static bool judge_executable(struct appeared *appeared)
{
    const struct core_info *info = appeared->core->info;
    const struct core_module *executable = info->knows_executable ? &info->modules[0] : NULL;
    _cleanup_close_ int fd = -1;
    char build_id[sizeof(executable->build_id)] = "";

    if (appeared->is_ours)
        return true;
    if (!executable)
        return refuse(appeared, "it doesn't tell its executable, so it may be another container's");
    fd = open_regular_at(AT_FDCWD, executable->path, 0);
    if (fd >= 0)
        (void)build_id_of_file(fd, build_id, sizeof(build_id));
    if (fd < 0 || strcmp(build_id, executable->build_id) != 0)
        return refuse(appeared,
                      "it is the core of pid %d, %s, whose executable %s isn't here, so it is "
                      "another container's",
                      info->pid, info->comm, executable->path);
    return true;
}

static bool (*const judges[])(struct appeared *appeared) = {
    judge_file, judge_name, judge_parent, judge_life, judge_descent, judge_executable,
};

static bool is_on_own_root(int dir_fd)
{
    struct stat directory, root;
    struct statfs fs;

    return fstatfs(dir_fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC &&
           fstat(dir_fd, &directory) == 0 && stat("/", &root) == 0 &&
           directory.st_dev == root.st_dev;
}

/* Where the kernel's code lies in a live process, 0 where that isn't known. */
static uint64_t vdso_of(pid_t pid)
{
    unsigned long pairs[64][2];
    _cleanup_close_ int fd = -1;
    char path[32];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read_full(fd, pairs, sizeof(pairs));
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(pairs[0]); i++)
        if (pairs[i][0] == AT_SYSINFO_EHDR)
            return pairs[i][1];
    return 0;
}

/* Whether addresses are random (personality(2)): a process has it from its parent. */
static bool is_random(pid_t pid)
{
    char path[40], text[16];

    if (read_text_at(AT_FDCWD, "/proc/sys/kernel/randomize_va_space", text, sizeof(text)) <= 0 ||
        text[0] == '0')
        return false;
    snprintf(path, sizeof(path), "/proc/%d/personality", pid);
    return read_text_at(AT_FDCWD, path, text, sizeof(text)) > 0 &&
           !(strtoul(text, NULL, 16) & ADDR_NO_RANDOMIZE);
}

/* As fork(2) leaves it, without an execve(2). */
static bool is_like_parent(const struct core_info *info, pid_t coreinit)
{
    return info->vdso != 0 && vdso_of(info->ppid) == info->vdso && is_random(info->ppid) &&
           is_descendant(info->ppid, coreinit);
}

/* PID 1 looked at it while it lived, and it lay at the same random address. */
static bool was_seen(const struct crash_record *record, const struct core_info *info,
                     pid_t coreinit)
{
    _cleanup_core_info_ struct core_info *maps = NULL;

    return record->maps_fd >= 0 && record->witness_pid == info->pid && info->knows_executable &&
           is_random(coreinit) && info->modules[0].bias != 0 &&
           core_info_from_maps(record->maps_fd, record->root_fd, &maps) == 0 &&
           core_layout_compare(maps, info) == CORE_LAYOUT_SAME;
}

static int open_core(const struct core_candidate *candidate, struct appeared *appeared)
{
    _cleanup_kernel_core_ struct kernel_core *core = calloc(1, sizeof(*core));

    if (!core)
        return -ENOMEM;
    core->fd = core->dir_fd = -1;
    core->dir_fd = fcntl(candidate->dir_fd, F_DUPFD_CLOEXEC, 3);
    if (core->dir_fd < 0)
        return -errno;
    core->fd = open_regular_at(candidate->dir_fd, candidate->name, AT_SYMLINK_NOFOLLOW);
    if (core->fd < 0)
        return core->fd;
    if (fstat(core->fd, &appeared->file) < 0)
        return -errno;
    snprintf(core->name, sizeof(core->name), "%s", candidate->name);
    snprintf(core->path, sizeof(core->path), "%s", candidate->path);
    appeared->core = take_ptr(core);
    return core_info_read(appeared->core->fd, &appeared->core->info);
}

static void on_candidate(const struct core_candidate *candidate, void *context)
{
    struct appeared *appeared = context;

    appeared->error = open_core(candidate, appeared);
}

/* The path as a pattern without wildcards. */
static int open_path(struct appeared *appeared)
{
    char pattern[2 * PATH_MAX];
    size_t used = 0;
    int r;

    for (const char *at = appeared->record->appeared; *at; at++) {
        if (strchr("*?[\\", *at))
            pattern[used++] = '\\';
        pattern[used++] = *at;
    }
    pattern[used] = '\0';
    r = core_search(pattern, 0, on_candidate, appeared);
    return r < 0 ? r : appeared->error;
}

/* As PID 1 says it of those that it reaps. */
static void say_end(const struct core_info *info)
{
    const char *signal = sigabbrev_np(info->signo);

    log_error("a process that its own parent reaps, %s (pid %d), was killed by SIG%s", info->comm,
              info->pid, signal ? signal : "?");
}

static bool is_trusted(struct appeared *appeared)
{
    struct kernel_core *core = appeared->core;

    appeared->written = since_boot(&appeared->file.st_mtim);
    appeared->is_ours = is_on_own_root(core->dir_fd) ||
                        is_like_parent(core->info, appeared->coreinit) ||
                        was_seen(appeared->record, core->info, appeared->coreinit);
    for (size_t i = 0; i < sizeof(judges) / sizeof(judges[0]); i++)
        if (!judges[i](appeared))
            return false;
    say_end(core->info);
    if (appeared->is_ours)
        return true;
    core->stays = true;
    log_notice("%s stays where it is: another container may have written it, and want it",
               core->path);
    return true;
}

int kernel_core_find_appeared_by(const struct crash_record *record,
                                 const struct core_settings *settings, pid_t coreinit,
                                 struct kernel_core **ret, char *why, size_t why_size)
{
    struct appeared appeared = {
        .record = record,
        .settings = settings,
        .coreinit = coreinit,
        .why = why,
        .why_size = why_size,
    };
    int r = open_path(&appeared);

    if (r < 0)
        refuse(&appeared, "%s", r == -ENOENT ? "it is gone" : kernel_core_refusal(r));
    if (r == 0 && is_trusted(&appeared)) {
        *ret = appeared.core;
        return 0;
    }
    kernel_core_free(appeared.core);
    return r == -ENOMEM ? r : -ENOENT;
}

int kernel_core_find_appeared(const struct crash_record *record, struct kernel_core **ret,
                              char *why, size_t why_size)
{
    struct core_settings settings;

    if (core_settings_read(&settings) < 0) {
        snprintf(why, why_size, "/proc/sys/kernel/core_pattern cannot be read");
        return -ENOENT;
    }
    return kernel_core_find_appeared_by(record, &settings, getppid(), ret, why, why_size);
}
