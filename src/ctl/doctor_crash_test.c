/* corectl doctor --crash-test: a crash of one's own, and what came of it. */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle/json_value.h"
#include "ctl/doctor.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define SECOND_NS 1000000000ll

/* coreinit bounds the collector; this is for what comes before and after. */
#define GRACE_SECONDS 30

/* Without a time limit of its own. */
#define PATIENCE_SECONDS 600

/* coreinit's log of one crash: a stack of at most STACK_MAX_FRAMES lines, and a few more. */
#define MOST_LOG (256 * 1024)

/* What the top frame must be: in the dynamic symbol table, so that a stripped corectl has it. */
#define CRASH_FUNCTION "corectl_crash_as_asked"
void corectl_crash_as_asked(int *nowhere);

__attribute__((noinline, no_sanitize("address"), no_sanitize("undefined"))) void
corectl_crash_as_asked(int *nowhere)
{
    /* cppcheck-suppress nullPointer */
    *(volatile int *)nowhere = 1;
}

void crashes_for_the_doctor(void)
{
    int *volatile nowhere = NULL;

    (void)signal(SIGSEGV, SIG_DFL);
    corectl_crash_as_asked(nowhere);
    _exit(1); /* it wasn't a crash */
}

/* What the log of coreinit and its collector tells. */
struct outcome {
    char *log; /* to be freed */
    char bundle[256];
    char made[256]; /* kinds of artifacts, each behind a blank */
    char lost[256]; /* likewise */
    char place[2048];
    char top_frame[512];
    bool has_core, has_stack, is_delivered;
    json_t *account; /* crash.json, or NULL: it is in S3 alone */
};

static void free_outcome(struct outcome *outcome)
{
    json_decref(outcome->account);
    free(outcome->log);
}

/* Settings that options gave are given by the environment, which the ini file doesn't override. */
static int set_environment(const struct explained *coreinit)
{
    char timeout[16];
    const char *cores_dir = coreinit->settings.cores_dir;
    const struct {
        const char *name, *value;
    } variables[] = {
        {"COREINIT_CORES_DIR", cores_dir[0] ? cores_dir : "none"},
        {"COREINIT_CAPTURE", coreinit->capture_asked},
        {"COREINIT_ON_CRASH", "exit"},
        {"COREINIT_KEEP_LOCAL", "always"}, /* the account that is read here */
        {"COREINIT_COLLECT_TIMEOUT", timeout},
        {"COREINIT_CONFIG", coreinit->settings.config},
        {"COREINIT_CORECTL", coreinit->corectl},
        {"S3_BUCKET", coreinit->settings.bucket},
        {"S3_KEY_PREFIX", coreinit->settings.key_prefix},
        {"RUN_ID", "crash-test"},
        {"TINI_VERBOSITY", "1"}, /* the lines that are read here */
    };

    snprintf(timeout, sizeof(timeout), "%u", coreinit->settings.collect_timeout);
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        if (setenv(variables[i].name, variables[i].value, 1) < 0)
            return -errno;
    return 0;
}

/* In the child. */
static void become_coreinit(const struct doctor *doctor, int log_fd)
{
    const pid_t pid = doctor->subject == SUBJECT_PREDICTION ? 0 : doctor->target.coreinit;
    char executable[PATH_MAX], self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    explained_executable(pid, executable, sizeof(executable));
    self[n > 0 ? n : 0] = '\0';
    if (dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0 ||
        set_environment(&doctor->coreinit) < 0)
        _exit(127);
    if (doctor->record.cwd[0] && chdir(doctor->record.cwd) < 0)
        log_errno(errno, "the test runs elsewhere than the program: cannot enter %s",
                  doctor->record.cwd);
    (void)signal(SIGPIPE, SIG_DFL);
    execl(executable, "coreinit", "--", self, "doctor", "--crash", (char *)NULL);
    log_errno(errno, "%s cannot be executed", executable);
    _exit(127);
}

static int run(const struct doctor *doctor, struct outcome *outcome)
{
    _cleanup_close_ int log_fd = memfd_create("crash-test", MFD_CLOEXEC);
    const unsigned timeout = doctor->coreinit.settings.collect_timeout;
    const int64_t seconds = (timeout ? timeout : PATIENCE_SECONDS) + GRACE_SECONDS;
    int status = 0, r;
    ssize_t n;
    pid_t pid;

    outcome->log = calloc(1, MOST_LOG);
    if (log_fd < 0 || !outcome->log)
        return log_errno(ENOMEM, "cannot keep coreinit's log");
    pid = fork();
    if (pid < 0)
        return log_errno(errno, "cannot start coreinit");
    if (pid == 0)
        become_coreinit(doctor, log_fd);
    r = child_wait(pid, monotonic_ns() + seconds * SECOND_NS, &status);
    n = pread_full(log_fd, outcome->log, MOST_LOG - 1, 0);
    outcome->log[n > 0 ? n : 0] = '\0';
    if (r < 0)
        return log_errno(r, "coreinit didn't end within %lld s", (long long)seconds);
    return 0;
}

/* What stands between two texts on one line of the log; "" where they aren't there. */
static void cut(const char *line, const char *begin, const char *end, char *ret, size_t size)
{
    const size_t line_length = strcspn(line, "\n");
    const char *from = memmem(line, line_length, begin, strlen(begin)), *to = NULL;

    ret[0] = '\0';
    if (!from)
        return;
    from += strlen(begin);
    if (end)
        to = memmem(from, line_length - (size_t)(from - line), end, strlen(end));
    if (!to)
        to = line + line_length;
    snprintf(ret, size, "%.*s", (int)(to - from), from);
}

static bool has_word(const char *words, const char *word)
{
    const char *at = strstr(words, word);
    const size_t length = strlen(word);

    return at && (at[length] == ' ' || at[length] == '\0');
}

static bool is_sent(const json_t *account, const char *kind)
{
    const json_t *artifacts = json_object_get(account, "artifacts");

    return json_is_true(json_object_get(json_object_get(artifacts, kind), "in_s3"));
}

/* Without an account in the cores dir everything went to S3, and what didn't is missing. */
static bool is_delivered(const struct doctor *doctor, const struct outcome *outcome)
{
    const json_t *account = outcome->account;

    if (!outcome->bundle[0])
        return false;
    if (!doctor->coreinit.settings.bucket[0])
        return doctor_place_lasts(doctor);
    return strstr(outcome->place, "s3://") &&
           (!account || (is_sent(account, "core") && is_sent(account, "stacktrace")));
}

/* "bundle ID: KIND KIND; in PLACE; without KIND", and the crashing thread's first frame. */
static void read_log(struct outcome *outcome)
{
    static const char heading[] = "coreinit: notice: bundle ", frame[] = "coreinit: error: #0  ";
    const char *line = strstr(outcome->log, heading), *top = strstr(outcome->log, frame);

    if (line) {
        cut(line, heading, ":", outcome->bundle, sizeof(outcome->bundle));
        cut(line + strlen(heading), ":", ";", outcome->made, sizeof(outcome->made));
        cut(line, "; in ", "; without", outcome->place, sizeof(outcome->place));
        cut(line, "; without", NULL, outcome->lost, sizeof(outcome->lost));
    }
    if (top)
        cut(top, frame, NULL, outcome->top_frame, sizeof(outcome->top_frame));
    outcome->has_core = has_word(outcome->made, " core.zip");
    outcome->has_stack =
        has_word(outcome->made, " stacktrace") && strstr(outcome->top_frame, CRASH_FUNCTION);
}

static void read_account(const struct doctor *doctor, struct outcome *outcome)
{
    char path[PATH_MAX + 300];

    snprintf(path, sizeof(path), "%s/%s.crash.json", doctor->coreinit.settings.cores_dir,
             outcome->bundle);
    if (outcome->bundle[0])
        outcome->account = json_load_file(path, 0, NULL);
}

static bool is_well(const struct outcome *outcome)
{
    return outcome->has_core && outcome->has_stack && outcome->is_delivered;
}

static void print_artifacts(const json_t *artifacts)
{
    const char *kind;
    json_t *artifact;

    json_object_foreach((json_t *)artifacts, kind, artifact)
    {
        const char *file = json_string_value(json_object_get(artifact, "file"));
        const char *error = json_string_value(json_object_get(artifact, "error"));
        const json_t *bytes = json_object_get(artifact, "size");
        const bool is_sent = json_is_true(json_object_get(artifact, "in_s3"));
        char size[32];

        if (json_is_integer(bytes))
            size_text((uint64_t)json_integer_value(bytes), size, sizeof(size));
        else
            strcpy(size, "");
        printf("%9s  %s%s%s%s\n", file ? size : "missing", kind, is_sent || error ? ", " : "",
               is_sent ? "in S3 too" : "", error ? error : "");
    }
}

static void print_sentence(const struct outcome *outcome)
{
    if (is_well(outcome)) {
        printf("The crash test went well: core and stack are there, in %s.\n", outcome->place);
        return;
    }
    printf("The crash test failed:%s%s%s%s.\n", outcome->bundle[0] ? "" : " there is no bundle;",
           outcome->has_core ? "" : " no core;", outcome->has_stack ? "" : " no stack;",
           outcome->is_delivered ? "" : " not delivered to a lasting place");
}

static void print_text(const struct doctor *doctor, const struct outcome *outcome)
{
    const json_t *capture = json_object_get(outcome->account, "capture");
    const char *mode = json_string_value(json_object_get(capture, "mode"));

    if (!outcome->bundle[0] || !is_well(outcome))
        printf("What coreinit said:\n%s\n", outcome->log);
    if (outcome->bundle[0]) {
        printf("bundle   %s\n", outcome->bundle);
        printf("in       %s\n", outcome->place);
        if (mode)
            printf("capture  %s: %s\n", mode, json_string_value(json_object_get(capture, "why")));
        printf("top      %s\n", outcome->top_frame[0] ? outcome->top_frame : "no frame");
        if (outcome->account)
            print_artifacts(json_object_get(outcome->account, "artifacts"));
        else
            printf("made    %s\n", outcome->made);
        if (outcome->lost[0])
            printf("without %s\n", outcome->lost);
        if (outcome->account)
            printf("It can be removed: %s/%s.*\n", doctor->coreinit.settings.cores_dir,
                   outcome->bundle);
    }
    putchar('\n');
    print_sentence(outcome);
}

static json_t *text_value(const char *text)
{
    return json_known_text(text, strlen(text));
}

static int print_json(const struct outcome *outcome)
{
    json_t *artifacts = json_object_get(outcome->account, "artifacts");
    const struct json_field test[] = {
        {"bundle", text_value(outcome->bundle)},
        {"place", text_value(outcome->place)},
        {"top_frame", text_value(outcome->top_frame)},
        {"artifacts", artifacts ? json_incref(artifacts) : json_null()},
        {"core", json_boolean(outcome->has_core)},
        {"stack", json_boolean(outcome->has_stack)},
        {"delivered", json_boolean(outcome->is_delivered)},
        {"ok", json_boolean(is_well(outcome))},
        {"log", text_value(outcome->log)},
        {0},
    };
    const struct json_field fields[] = {
        {"version", json_integer(1)},
        {"crash_test", json_object_of(test)},
        {0},
    };
    json_t *all = json_object_of(fields);
    const int r = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;

    json_decref(all);
    putchar('\n');
    return r < 0 ? -ENOMEM : 0;
}

int doctor_crash_test(const struct doctor *doctor, bool as_json)
{
    __attribute__((cleanup(free_outcome))) struct outcome outcome = {0};
    int r;

    if (doctor->coreinit.error[0]) {
        log_error("there is no crash test without coreinit: %s", doctor->coreinit.error);
        return -ENOENT;
    }
    r = run(doctor, &outcome);
    if (r < 0)
        return r;
    read_log(&outcome);
    read_account(doctor, &outcome);
    outcome.is_delivered = is_delivered(doctor, &outcome);
    if (as_json)
        r = print_json(&outcome);
    else
        print_text(doctor, &outcome);
    if (fflush(stdout) != 0)
        return -EIO;
    return r < 0 ? r : is_well(&outcome) ? 0 : -ENODATA;
}
