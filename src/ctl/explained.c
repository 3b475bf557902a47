#include "ctl/explained.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/own_path.h"

/* Linux takes no more (execve(2)), unless the stack may be larger than it usually is. */
#define MOST_ARGUMENT_BYTES ((size_t)2 << 20)

#define PATIENCE_NS 10000000000ll

/* All answers, each of which may be a path. */
#define MOST_TEXT (64 * 1024)

enum answer_kind { TEXT, YES_OR_NO, NUMBER, SIZE, KEEP };

static const struct answer {
    const char *key;
    enum answer_kind kind;
    size_t offset, size;
} answers[] = {
#define AT(field) offsetof(struct explained, field), sizeof(((struct explained *)0)->field)
    {"version", TEXT, AT(version)},
    {"program", TEXT, AT(program)},
    {"program_path", TEXT, AT(program_path)},
    {"capture_asked", TEXT, AT(capture_asked)},
    {"capture", TEXT, AT(capture)},
    {"why", TEXT, AT(why)},
    {"core_expected", YES_OR_NO, AT(core_expected)},
    {"mend", TEXT, AT(mend)},
    {"not_traced", TEXT, AT(not_traced)},
    {"not_traceable", TEXT, AT(not_traceable)},
    {"corectl", TEXT, AT(corectl)},
    {"has_corectl", YES_OR_NO, AT(has_corectl)},
    {"on_crash", TEXT, AT(on_crash)},
#define SETTING(kind, field) {#field, kind, AT(settings.field)},
    CRASH_SETTINGS(SETTING)
#undef SETTING
    /* A refusal comes as a line of the log. */
    {"coreinit: error", TEXT, AT(error)},
#undef AT
};

static uint32_t keep_local_of(const char *name)
{
    static const char *const names[] = {KEEP_LOCAL_NAMES};

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return KEEP_ALWAYS;
}

static void take(struct explained *explained, const struct answer *answer, const char *value)
{
    void *field = (char *)explained + answer->offset;

    switch (answer->kind) {
    case TEXT:
        snprintf(field, answer->size, "%s", value);
        break;
    case YES_OR_NO:
        *(bool *)field = strcmp(value, "yes") == 0;
        break;
    case NUMBER:
        *(uint32_t *)field = (uint32_t)strtoul(value, NULL, 10);
        break;
    case SIZE:
        *(uint64_t *)field = strtoull(value, NULL, 10);
        break;
    case KEEP:
        *(uint32_t *)field = keep_local_of(value);
        break;
    }
}

static void read_line(struct explained *explained, const char *line)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const size_t length = strlen(answers[i].key);

        if (strncmp(line, answers[i].key, length) == 0 && strncmp(line + length, ": ", 2) == 0) {
            take(explained, &answers[i], line + length + 2);
            return;
        }
    }
}

static void read_answers(struct explained *explained, char *text)
{
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        read_line(explained, line);
}

void explained_executable(pid_t pid, char *ret, size_t size)
{
    if (pid > 0)
        snprintf(ret, size, "/proc/%d/exe", pid);
    else
        (void)own_path("coreinit", ret, size);
}

/* One block, the texts behind the pointers. */
char **explained_arguments(pid_t coreinit)
{
    _cleanup_free_ char *text = malloc(MOST_ARGUMENT_BYTES);
    size_t n = 0, n_words = 0;
    char **words, *copy;
    char path[32];
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", coreinit);
    length = text ? read_text_at(AT_FDCWD, path, text, MOST_ARGUMENT_BYTES) : -ENOMEM;
    if (length <= 0)
        return NULL;
    for (ssize_t i = 0; i <= length; i++)
        n_words += text[i] == '\0';
    words = calloc(1, n_words * sizeof(*words) + (size_t)length + 1);
    if (!words)
        return NULL;
    copy = memcpy(words + n_words, text, (size_t)length + 1);
    for (ssize_t at = (ssize_t)strlen(copy) + 1; at < length; at += (ssize_t)strlen(copy + at) + 1)
        words[n++] = copy + at;
    return words;
}

/* In the child. */
static void execute(const char *executable, char *const *arguments, int out_fd)
{
    size_t n = 0;
    char **words;

    while (arguments[n])
        n++;
    words = calloc(n + 3, sizeof(*words));
    if (!words || dup2(out_fd, STDOUT_FILENO) < 0 || dup2(out_fd, STDERR_FILENO) < 0)
        _exit(127);
    words[0] = (char *)"coreinit";
    words[1] = (char *)"--explain";
    memcpy(&words[2], arguments, n * sizeof(*words));
    execv(executable, words);
    dprintf(STDERR_FILENO, "coreinit: error: %s cannot be executed: %s\n", executable,
            strerrordesc_np(errno));
    _exit(127);
}

void explained_ask(const char *executable, char *const *arguments, struct explained *ret)
{
    _cleanup_close_ int out_fd = memfd_create("explained", MFD_CLOEXEC);
    _cleanup_free_ char *text = calloc(1, MOST_TEXT);
    int status = 0, r;
    pid_t pid;

    memset(ret, 0, sizeof(*ret));
    pid = out_fd < 0 || !text ? -1 : fork();
    if (pid == 0)
        execute(executable, arguments, out_fd);
    r = pid < 0 ? -errno : child_wait(pid, monotonic_ns() + PATIENCE_NS, &status);
    if (r == 0 && pread_full(out_fd, text, MOST_TEXT - 1, 0) > 0)
        read_answers(ret, text);
    if (!ret->error[0] && (r < 0 || status != 0 || !ret->version[0]))
        snprintf(ret->error, sizeof(ret->error), "%s",
                 r < 0 ? strerrordesc_np(-r) : "it gave no answer");
}

void explained_here(pid_t coreinit, const char *program, struct explained *ret)
{
    char *const program_alone[] = {(char *)program, NULL};
    _cleanup_free_ char **arguments = coreinit ? explained_arguments(coreinit) : NULL;
    char path[PATH_MAX];

    explained_executable(0, path, sizeof(path));
    explained_ask(path, arguments && arguments[0] ? arguments : program_alone, ret);
}
