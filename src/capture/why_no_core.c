#include "capture/why_no_core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "util/cleanup.h"

/* elf_format.min_coredump of the kernel: with less it doesn't begin. */
#define SMALLEST_CORE 4096

#define MEND_PATTERN                                                                               \
    "set kernel.core_pattern on the host to a file, e.g. sysctl "                                  \
    "kernel.core_pattern=/cores/core.%e.%h.%P"
#define MEND_LIMIT                                                                                 \
    "raise it: docker run --ulimit core=-1, or ulimits with name core and -1 in the ECS task "     \
    "definition"

struct question {
    const struct crash_record *record;
    const struct crash_facts *facts;
    const struct core_settings *settings;
    const char *looked_for;
    const char *refused;
    char *answer;
    size_t size;
};

/* Writes the answer. Returns true, so that an explanation that applies ends with it. */
__attribute__((format(printf, 2, 3))) static bool answer(const struct question *question,
                                                         const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(question->answer, question->size, format, arguments);
    va_end(arguments);
    return true;
}

static bool no_core_signal(const struct question *question)
{
    const struct crash_record *record = question->record;

    if (question->facts->signo != 0)
        return false;
    if (question->facts->of_child)
        return answer(question, "it exited with status %d, which is no crash", record->wait_status);
    if (record->wait_status == SIGKILL)
        return answer(question,
                      "SIGKILL leaves no core: someone killed it, or the kernel for want of memory "
                      "(raise the container's memory limit)");
    return answer(question, "signal %d leaves no core", record->wait_status);
}

static bool start_unknown(const struct question *question)
{
    return !question->facts->knows_start &&
           answer(question, "it isn't known when the process began, so no core can be told from an "
                            "older one: mount /proc into the container");
}

static bool piped(const struct question *question)
{
    const char *pattern = question->settings->pattern;

    return pattern[0] == '|' &&
           answer(question, "the host's core_pattern pipes cores to %.*s%s; %s",
                  (int)strcspn(pattern + 1, " "), pattern + 1,
                  strstr(pattern, "systemd-coredump") ? " (on the host, coredumpctl has it)" : "",
                  MEND_PATTERN);
}

static bool sent_to_socket(const struct question *question)
{
    return question->settings->pattern[0] == '@' &&
           answer(question, "the host's core_pattern sends cores to the socket %s; %s",
                  question->settings->pattern + 1, MEND_PATTERN);
}

static bool turned_off(const struct question *question)
{
    return question->looked_for[0] == '\0' &&
           answer(question, "the host's core_pattern '%s' names no file, which turns cores off; %s",
                  question->settings->pattern, MEND_PATTERN);
}

static bool limit_too_small(const struct question *question)
{
    const struct crash_facts *facts = question->facts;

    return facts->knows_core_limit && facts->core_limit < SMALLEST_CORE &&
           answer(question, "its core limit was %" PRIu64 " bytes; %s", facts->core_limit,
                  MEND_LIMIT);
}

static bool file_limit_too_small(const struct question *question)
{
    const struct crash_facts *facts = question->facts;

    return facts->file_limit < SMALLEST_CORE &&
           answer(question,
                  "its file size limit (RLIMIT_FSIZE) was %" PRIu64
                  " bytes; raise it: docker run --ulimit fsize=-1",
                  facts->file_limit);
}

static bool written_but_not_found(const struct question *question)
{
    const struct crash_record *record = question->record;
    const bool is_absolute = question->looked_for[0] == '/';

    if (record->wait_code != CLD_DUMPED)
        return false;
    if (question->refused[0])
        return answer(question, "the kernel wrote one, but all there is was refused: %s",
                      question->refused);
    return answer(question,
                  "the kernel wrote one, but there is no '%s'%s%s: the program %s, or someone "
                  "removed it; an absolute path below a mounted volume is surest",
                  question->looked_for, is_absolute ? "" : " in ",
                  is_absolute      ? ""
                  : record->cwd[0] ? record->cwd
                                   : "the directories that were seen",
                  is_absolute ? "has another root directory or mounts of its own"
                              : "had changed its working directory");
}

/* The file that the kernel was to write. Returns false where its name isn't certain. */
static bool core_path(const struct question *question, char *ret, size_t size)
{
    const char *name = question->looked_for, *cwd = question->record->cwd;

    if (strpbrk(name, "*\\") || (name[0] != '/' && !cwd[0]))
        return false;
    return (size_t)snprintf(ret, size, "%s%s%s", name[0] == '/' ? "" : cwd,
                            name[0] == '/' ? "" : "/", name) < size;
}

/* What do_coredump() of the kernel's fs/coredump.c doesn't write to. */
static bool place_taken(const struct question *question)
{
    const int64_t uid = question->facts->of_child ? -1 : question->facts->fs_uid;
    const char *reason = NULL;
    char path[PATH_MAX + 256];
    struct stat file;

    if (question->refused[0])
        return answer(question, "what lies where it was to be was refused: %s", question->refused);
    if (!core_path(question, path, sizeof(path)) || lstat(path, &file) < 0)
        return false;
    if (!S_ISREG(file.st_mode))
        reason = "it is not a regular file";
    else if (file.st_nlink != 1)
        reason = "it has several links";
    else if (uid >= 0 && uid != (int64_t)file.st_uid)
        reason = "it belongs to another user";
    return reason &&
           answer(question, "what lies where it was to be was refused: %s: %s", path, reason);
}

static bool cwd_unknown(const struct question *question)
{
    return question->looked_for[0] != '/' && !question->record->cwd[0] &&
           answer(question,
                  "core_pattern '%s' is relative and the program's last working directory isn't "
                  "known; %s",
                  question->settings->pattern, MEND_PATTERN);
}

void core_directory(const struct crash_record *record, const struct core_settings *settings,
                    char *ret, size_t size)
{
    const char *pattern = settings->pattern;
    const size_t literal = strcspn(pattern, "%");
    const char *slash = memrchr(pattern, '/', literal);

    if (pattern[0] == '/')
        snprintf(ret, size, "%.*s", slash == pattern ? 1 : (int)(slash - pattern), pattern);
    else
        snprintf(ret, size, "%s%s%.*s", record->cwd, slash ? "/" : "",
                 slash ? (int)(slash - pattern) : 0, pattern);
}

static bool is_writable(const struct question *question, const struct stat *directory)
{
    const struct crash_facts *facts = question->facts;
    mode_t needed = S_IWOTH | S_IXOTH;

    if (facts->ignores_modes || facts->fs_uid < 0)
        return true;
    if (facts->fs_uid == (int64_t)directory->st_uid)
        needed = S_IWUSR | S_IXUSR;
    else if (crash_facts_in_group(facts, question->record, directory->st_gid))
        needed = S_IWGRP | S_IXGRP;
    return (directory->st_mode & needed) == needed;
}

static bool directory_unusable(const struct question *question)
{
    char path[PATH_MAX + 256];
    _cleanup_close_ int fd = -1;
    struct statvfs system;
    struct stat file;

    core_directory(question->record, question->settings, path, sizeof(path));
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return answer(question,
                      "%s, where core_pattern '%s' points, cannot be entered (%s); make "
                      "it, or mount a volume there",
                      path, question->settings->pattern, strerrordesc_np(errno));
    if (fstat(fd, &file) < 0 || fstatvfs(fd, &system) < 0)
        return false;
    if (system.f_flag & ST_RDONLY)
        return answer(question,
                      "%s, where core_pattern '%s' points, is read-only; mount a volume there",
                      path, question->settings->pattern);
    if (system.f_blocks && (system.f_bavail == 0 || (system.f_files && system.f_favail == 0)))
        return answer(question, "the disk of %s, where core_pattern '%s' points, is full", path,
                      question->settings->pattern);
    return !is_writable(question, &file) &&
           answer(question,
                  "%s, where core_pattern '%s' points, is not writable for the program's uid "
                  "%" PRId64 "; change its owner or its mode (1777)",
                  path, question->settings->pattern, question->facts->fs_uid);
}

/* What can't be seen from outside: the kernel itself decided against it. */
static bool undumpable(const struct question *question)
{
    static const char *const mends[] = {
        "sysctl fs.suid_dumpable=2 with an absolute core_pattern",
        "a look at the kernel's log",
        "an absolute core_pattern",
    };
    const int mode = question->settings->suid_dumpable;

    return answer(question,
                  "the kernel wrote none, most likely because the process was undumpable: it had "
                  "changed its user, was set-user-ID or had file capabilities, or called "
                  "prctl(PR_SET_DUMPABLE, 0) (fs.suid_dumpable is %d); what helps is "
                  "prctl(PR_SET_DUMPABLE, 1) in the program, or %s",
                  mode, mends[mode >= 0 && mode <= 2 ? mode : 0]);
}

/* From what rules everything else out to what can only be guessed; the first that applies. */
static bool (*const explanations[])(const struct question *question) = {
    no_core_signal,
    start_unknown,
    piped,
    sent_to_socket,
    turned_off,
    limit_too_small,
    file_limit_too_small,
    written_but_not_found,
    place_taken,
    cwd_unknown,
    directory_unusable,
    undumpable, /* explains whatever is left */
};
#define N_EXPLANATIONS (sizeof(explanations) / sizeof(explanations[0]))

static bool explain(const struct question *question, size_t n_explanations)
{
    for (size_t i = 0; i < n_explanations; i++)
        if (explanations[i](question))
            return true;
    return false;
}

void why_no_core(const struct crash_record *record, const struct crash_facts *facts,
                 const struct core_settings *settings, const char *looked_for, const char *refused,
                 char *ret, size_t size)
{
    const struct question question = {
        .record = record,
        .facts = facts,
        .settings = settings,
        .looked_for = looked_for,
        .refused = refused,
        .answer = ret,
        .size = size,
    };

    (void)explain(&question, N_EXPLANATIONS);
}

bool why_no_core_would_come(const struct crash_record *record, const struct crash_facts *facts,
                            const struct core_settings *settings, char *ret, size_t size)
{
    char looked_for[PATH_MAX];
    const struct question question = {
        .record = record,
        .facts = facts,
        .settings = settings,
        .looked_for = looked_for,
        .refused = "",
        .answer = ret,
        .size = size,
    };

    if (core_pattern_expand(settings->pattern, settings->uses_pid, &CORE_PATTERN_SUBJECT_UNKNOWN,
                            looked_for, sizeof(looked_for)) < 0)
        looked_for[0] = '\0';
    return explain(&question, N_EXPLANATIONS - 1);
}
