#include "capture/kernel_core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "capture/core_layout.h"
#include "capture/core_search.h"
#include "capture/core_sweep.h"
#include "capture/crash_facts.h"
#include "capture/regular_file.h"
#include "capture/why_no_core.h"
#include "util/cleanup.h"
#include "util/log.h"

/* File systems stamp with a coarser clock than the one that dates a process's start. */
#define TIMESTAMP_SLACK_S 1

/* Someone may plant any number of files. */
#define MOST_REFUSALS_LOGGED 16

/* A container's root file system takes a second; a host's, mounted into it, may take minutes. */
#define SWEEP_SECONDS 10

/* An expanded core_pattern below a working directory, every character escaped. */
#define MOST_PATTERN (2 * PATH_MAX + 1024)

struct finder {
    const struct crash_record *record;
    struct crash_facts facts;
    struct core_info *maps; /* the process's own mappings while it lived, NULL where unknown */
    struct kernel_core *best;
    struct timespec best_time;
    bool is_everywhere; /* looking where others' cores lie */
    unsigned refusals;
    char refused[512]; /* the last one, for why_no_core() */
    int error;
};

/* Why a candidate isn't the core. */
struct verdict {
    bool refused;
    bool is_usual; /* another process's core, nothing to be wondered at beside a wildcard */
    char reason[128];
};

__attribute__((format(printf, 2, 3))) static struct verdict refuse(bool is_usual,
                                                                   const char *format, ...)
{
    struct verdict verdict = {.refused = true, .is_usual = is_usual};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(verdict.reason, sizeof(verdict.reason), format, arguments);
    va_end(arguments);
    return verdict;
}

const char *kernel_core_refusal(int error)
{
    switch (error) {
    case -ELOOP:
        return "it is a symbolic link";
    case -EINVAL:
        return "it is not a regular file";
    case -ENOEXEC:
        return "it is not an ELF core";
    case -ENOTSUP:
        return "it is the core of a 32-bit program, or of another machine";
    case -ENODATA:
        return "it is cut before its notes end (core limit or disk too small)";
    default:
        return strerrordesc_np(-error);
    }
}

static struct verdict refuse_error(int error)
{
    return refuse(error == -ENOEXEC, "%s", kernel_core_refusal(error));
}

static bool is_older(const struct timespec *time, const struct timespec *than, time_t slack)
{
    if (time->tv_sec + slack != than->tv_sec)
        return time->tv_sec + slack < than->tv_sec;
    return time->tv_nsec < than->tv_nsec;
}

static struct verdict judge_file(const struct finder *finder, const struct stat *file)
{
    const struct crash_facts *facts = &finder->facts;

    if (file->st_nlink != 1)
        return refuse(false, "it has %lu links", (unsigned long)file->st_nlink);
    if (is_older(&file->st_mtim, &facts->started, TIMESTAMP_SLACK_S))
        return refuse(true, "it is older than the process");
    /* The kernel refuses to dump where it can't make the file the process's own. */
    if (!facts->of_child && facts->fs_uid >= 0 && file->st_uid != (uid_t)facts->fs_uid &&
        file->st_uid != 0)
        return refuse(false, "it belongs to uid %u, not to the process's", file->st_uid);
    return (struct verdict){0};
}

static struct verdict judge_pid(const struct finder *finder, const struct core_info *info)
{
    if (finder->facts.of_child || info->pid == finder->facts.pid)
        return (struct verdict){0};
    return refuse(true, "it is the core of pid %d", info->pid);
}

/* Beneath a shell: its child, or the descendant that was seen, or a child of that one. */
static struct verdict judge_descent(const struct finder *finder, const struct core_info *info)
{
    const pid_t shell = finder->facts.pid, witness = finder->record->witness_pid;

    if (!finder->facts.of_child || (witness > 0 && info->pid == witness) ||
        (info->ppid > 0 && (info->ppid == shell || info->ppid == witness)))
        return (struct verdict){0};
    return refuse(true, "it is the core of pid %d, %s, a child of pid %d and none of the shell's",
                  info->pid, info->comm, info->ppid);
}

static struct verdict judge_signal(const struct finder *finder, const struct core_info *info)
{
    if (info->signo == finder->facts.signo)
        return (struct verdict){0};
    return refuse(true, "it is the core of a process that signal %d killed", info->signo);
}

static struct verdict judge_name(const struct finder *finder, const struct core_info *info)
{
    const struct crash_facts *facts = &finder->facts;

    if (facts->of_child || !facts->comm[0] || strcmp(info->comm, facts->comm) == 0)
        return (struct verdict){0};
    return refuse(true, "it is the core of another process of that pid, %s", info->comm);
}

/* Only the program's parent is certain: coreinit. Another's may have died while it dumped. */
static struct verdict judge_parent(const struct finder *finder, const struct core_info *info)
{
    const struct crash_facts *facts = &finder->facts;

    if (facts->of_child || !finder->record->is_program || facts->ppid == 0 ||
        info->ppid == facts->ppid)
        return (struct verdict){0};
    return refuse(true, "it is the core of another process of that pid, %s, a child of pid %d",
                  info->comm, info->ppid);
}

/* A program may rewrite its arguments, so they count only where others' cores lie. */
static struct verdict judge_arguments(const struct finder *finder, const struct core_info *info)
{
    const struct crash_record *record = finder->record;

    if (!finder->is_everywhere)
        return (struct verdict){0};
    for (size_t i = 0; i < record->cmdline_size && info->args[i]; i++)
        if (info->args[i] != (record->cmdline[i] ? record->cmdline[i] : ' '))
            return refuse(true,
                          "it is the core of another process of that pid, %s, with other "
                          "arguments",
                          info->comm);
    return (struct verdict){0};
}

/* Where the maps don't have it, the process has called execve(2) since they were read. */
static struct verdict judge_layout(const struct finder *finder, const struct core_info *info)
{
    if (!finder->maps || core_layout_compare(finder->maps, info) != CORE_LAYOUT_ELSEWHERE)
        return (struct verdict){0};
    return refuse(true,
                  "it is the core of another process of that pid, %s, which lay elsewhere in "
                  "memory",
                  info->comm);
}

/* From what names a process to what merely tells two of one name apart. */
static struct verdict (*const judges[])(const struct finder *finder,
                                        const struct core_info *info) = {
    judge_pid, judge_descent, judge_signal, judge_name, judge_parent, judge_arguments, judge_layout,
};

static struct verdict judge_core(const struct finder *finder, const struct core_info *info)
{
    struct verdict verdict = {0};

    for (size_t i = 0; i < sizeof(judges) / sizeof(judges[0]) && !verdict.refused; i++)
        verdict = judges[i](finder, info);
    return verdict;
}

/* Makes the candidate the best one. */
static void take(struct finder *finder, const struct core_candidate *candidate, int *fd,
                 const struct stat *file, struct core_info **info)
{
    struct kernel_core *core = calloc(1, sizeof(*core));

    if (!core) {
        finder->error = -ENOMEM;
        return;
    }
    core->fd = core->dir_fd = -1;
    core->dir_fd = fcntl(candidate->dir_fd, F_DUPFD_CLOEXEC, 3);
    if (core->dir_fd < 0) {
        finder->error = -errno;
        kernel_core_free(core);
        return;
    }
    core->fd = take_fd(fd);
    core->info = take_ptr(*info);
    snprintf(core->name, sizeof(core->name), "%s", candidate->name);
    snprintf(core->path, sizeof(core->path), "%s", candidate->path);
    kernel_core_free(finder->best);
    finder->best = core;
    finder->best_time = file->st_mtim;
}

static struct verdict judge(struct finder *finder, const struct core_candidate *candidate)
{
    _cleanup_close_ int fd =
        open_regular_at(candidate->dir_fd, candidate->name, AT_SYMLINK_NOFOLLOW);
    _cleanup_core_info_ struct core_info *info = NULL;
    struct verdict verdict;
    struct stat file;
    int r;

    if (fd == -ENOENT)
        return (struct verdict){0};
    if (fd < 0)
        return refuse_error(fd);
    if (fstat(fd, &file) < 0)
        return refuse_error(-errno);
    verdict = judge_file(finder, &file);
    if (verdict.refused || (finder->best && is_older(&file.st_mtim, &finder->best_time, 0)))
        return verdict;
    r = core_info_read(fd, &info);
    if (r == -ENOMEM)
        finder->error = r;
    if (r < 0)
        return refuse_error(r);
    verdict = judge_core(finder, info);
    if (!verdict.refused)
        take(finder, candidate, &fd, &file, &info);
    return verdict;
}

static void on_candidate(const struct core_candidate *candidate, void *context)
{
    struct finder *finder = context;
    const struct verdict verdict = judge(finder, candidate);
    const bool is_usual = finder->is_everywhere || (verdict.is_usual && !candidate->is_exact);

    if (!verdict.refused)
        return;
    if (!is_usual && ++finder->refusals > MOST_REFUSALS_LOGGED)
        return;
    log_line(is_usual ? LEVEL_INFO : LEVEL_WARNING, "%s is not taken for the core of pid %d: %s",
             candidate->path, finder->record->pid, verdict.reason);
    /* A core that was there before explains nothing, unless the kernel wrote another meanwhile. */
    if (!is_usual && (!verdict.is_usual || finder->record->wait_code == CLD_DUMPED))
        snprintf(finder->refused, sizeof(finder->refused), "%.300s: %s", candidate->path,
                 verdict.reason);
}

/* The components of an absolute pattern's literal directory: those before the first specifier. */
static size_t count_literal_directories(const char *pattern)
{
    size_t count = 0;

    for (const char *at = pattern; *at && *at != '%'; at++)
        count += at[0] == '/' && at > pattern && at[-1] != '/';
    return count;
}

/* Puts a directory before a relative pattern. Returns 0 or -ENAMETOOLONG. */
static int join(const char *directory, const char *pattern, char *ret, size_t size)
{
    size_t used = 0;

    for (; *directory; directory++) {
        if (used + 2 >= size)
            return -ENAMETOOLONG;
        if (strchr("*?[\\", *directory))
            ret[used++] = '\\';
        ret[used++] = *directory;
    }
    return (size_t)snprintf(ret + used, size - used, "/%s", pattern) < size - used ? 0
                                                                                   : -ENAMETOOLONG;
}

static void search(struct finder *finder, const char *pattern, size_t trusted)
{
    int r = core_search(pattern, trusted, on_candidate, finder);

    if (r < 0)
        log_info("no core is looked for as %s: %s", pattern, strerrordesc_np(-r));
}

static void search_directory(struct finder *finder, const char *directory, const char *expanded)
{
    char pattern[MOST_PATTERN];

    if (directory[0] == '/' && join(directory, expanded, pattern, sizeof(pattern)) == 0)
        search(finder, pattern, 0);
}

/* The directories that a record knows, each once. */
static void search_directories(struct finder *finder, const char *expanded)
{
    const struct crash_record *record = finder->record;

    search_directory(finder, record->cwd, expanded);
    for (size_t i = 0; i < CRASH_DIRECTORIES; i++) {
        bool is_known = strcmp(record->directories[i], record->cwd) == 0;

        for (size_t k = 0; k < i && !is_known; k++)
            is_known = strcmp(record->directories[i], record->directories[k]) == 0;
        if (!is_known)
            search_directory(finder, record->directories[i], expanded);
    }
}

struct sweep {
    struct finder *finder;
    const char *expanded;
};

static bool sweep_directory(const char *directory, void *context)
{
    const struct sweep *sweep = context;

    search_directory(sweep->finder, directory, sweep->expanded);
    return sweep->finder->best != NULL;
}

/* The program changed its directory and crashed before anyone looked. */
static void search_everywhere(struct finder *finder, const char *expanded)
{
    struct sweep sweep = {.finder = finder, .expanded = expanded};
    struct timespec since = finder->facts.started;

    log_info("the core of pid %d is in no directory where a process was seen: looking everywhere "
             "for up to %d s",
             finder->record->pid, SWEEP_SECONDS);
    since.tv_sec -= TIMESTAMP_SLACK_S;
    finder->is_everywhere = true;
    if (core_sweep(&since, SWEEP_SECONDS, sweep_directory, &sweep) == -ETIME)
        log_warning("the core of pid %d was not found in %d s of looking everywhere",
                    finder->record->pid, SWEEP_SECONDS);
}

/*
 * What is certain about the process. The rest stays a wildcard: which thread crashed, and what the
 * initial namespaces call pids and uids, isn't known here.
 */
static int expand(const struct finder *finder, const struct core_settings *settings, char *ret,
                  size_t size)
{
    struct core_pattern_subject who = CORE_PATTERN_SUBJECT_UNKNOWN;
    struct utsname host;
    char limit[24];

    who.pid = finder->facts.of_child ? -1 : finder->facts.pid;
    who.signo = finder->facts.signo;
    if (uname(&host) == 0)
        who.hostname = host.nodename;
    if (finder->facts.knows_core_limit) {
        snprintf(limit, sizeof(limit), "%" PRIu64, finder->facts.core_limit);
        who.core_limit = limit;
    }
    return core_pattern_expand(settings->pattern, settings->uses_pid, &who, ret, size);
}

/* Where the maps can't be understood, they tell nothing. */
static int read_maps(struct finder *finder)
{
    const struct crash_record *record = finder->record;
    int r = 0;

    if (!finder->facts.of_child && record->maps_fd >= 0 && record->witness_pid == record->pid)
        r = core_info_from_maps(record->maps_fd, record->root_fd, &finder->maps);
    return r == -ENOMEM ? r : 0;
}

static void look(struct finder *finder, const struct core_settings *settings, const char *expanded)
{
    finder->error = read_maps(finder);
    if (finder->error < 0)
        return;
    if (expanded[0] == '/') {
        search(finder, expanded, count_literal_directories(settings->pattern));
        return;
    }
    search_directories(finder, expanded);
    if (!finder->best && finder->error == 0 && finder->record->wait_code == CLD_DUMPED)
        search_everywhere(finder, expanded);
}

int kernel_core_find_by(const struct crash_record *record, const struct core_settings *settings,
                        struct kernel_core **ret, char *why, size_t why_size)
{
    struct finder finder = {.record = record, .facts = crash_facts_of(record)};
    char expanded[MOST_PATTERN] = "";
    int r = -ENOENT;

    if (finder.facts.signo != 0 && finder.facts.knows_start)
        r = expand(&finder, settings, expanded, sizeof(expanded));
    if (r < 0)
        expanded[0] = '\0';
    /* Even a truncated core is told as one: elf_core_dump() of fs/binfmt_elf.c. */
    if (expanded[0] && record->wait_code != CLD_KILLED)
        look(&finder, settings, expanded);
    core_info_free(finder.maps);

    if (finder.best) {
        *ret = finder.best;
        return 0;
    }
    if (finder.error < 0)
        return finder.error;
    why_no_core(record, &finder.facts, settings, expanded, finder.refused, why, why_size);
    return -ENOENT;
}

int kernel_core_find(const struct crash_record *record, struct kernel_core **ret, char *why,
                     size_t why_size)
{
    struct core_settings settings;
    int r = core_settings_read(&settings);

    if (r < 0) {
        snprintf(
            why, why_size,
            "/proc/sys/kernel/core_pattern cannot be read (%s): mount /proc into the container",
            strerrordesc_np(-r));
        return -ENOENT;
    }
    return kernel_core_find_by(record, &settings, ret, why, why_size);
}

int kernel_core_remove(struct kernel_core *core)
{
    struct stat file, named;

    if (fstat(core->fd, &file) < 0 ||
        fstatat(core->dir_fd, core->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (file.st_dev != named.st_dev || file.st_ino != named.st_ino)
        return -ESTALE;
    return unlinkat(core->dir_fd, core->name, 0) < 0 ? -errno : 0;
}

void kernel_core_free(struct kernel_core *core)
{
    if (!core)
        return;
    close_fd(core->fd);
    close_fd(core->dir_fd);
    core_info_free(core->info);
    free(core);
}
