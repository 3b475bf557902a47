#include "store/credential_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "store/aws_document.h"
#include "util/child.h"
#include "util/cleanup.h"

#define TIMEOUT_NS 60000000000ll
#define GRACE_NS 5000000000ll /* for what has closed its output already */
#define STEP_MS 100
#define MAX_OUTPUT_BYTES 65536
#define MAX_COMMAND_BYTES 8192

extern char **environ;

/* Copies one word to its own beginning, without its quotes. Returns what follows it, or NULL where
 * a quote isn't closed. */
static char *take_word(char *text, char **ret)
{
    char *out = text;
    char quote = '\0';

    *ret = text;
    for (; *text && (quote || (*text != ' ' && *text != '\t')); text++) {
        if (*text == quote) {
            quote = '\0';
        } else if (!quote && (*text == '\'' || *text == '"')) {
            quote = *text;
        } else if (*text == '\\' && quote != '\'' &&
                   (!quote || text[1] == '"' || text[1] == '\\')) {
            if (!*++text)
                return NULL;
            *out++ = *text;
        } else {
            *out++ = *text;
        }
    }
    if (quote)
        return NULL;
    if (*text)
        text++;
    *out = '\0'; /* of what was read before, at most the blank */
    return text;
}

int credential_process_split(char *command, char *ret[CREDENTIAL_PROCESS_WORDS + 1])
{
    size_t n = 0;

    for (;;) {
        command += strspn(command, " \t");
        if (!*command)
            break;
        if (n == CREDENTIAL_PROCESS_WORDS)
            return -EINVAL;
        command = take_word(command, &ret[n++]);
        if (!command)
            return -EINVAL;
    }
    ret[n] = NULL;
    return n > 0 ? 0 : -EINVAL;
}

static void cleanup_actions(posix_spawn_file_actions_t *actions)
{
    posix_spawn_file_actions_destroy(actions);
}

static void cleanup_attributes(posix_spawnattr_t *attributes)
{
    posix_spawnattr_destroy(attributes);
}

/* In a process group of its own, so that all of it can be ended; and as a program is usually
 * started, whatever this one ignores and blocks. Returns 0 or -errno. */
static int start(char *const *words, int out, pid_t *ret)
{
    _cleanup_(cleanup_actions) posix_spawn_file_actions_t actions;
    _cleanup_(cleanup_attributes) posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
    error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    return -(error ? error : posix_spawnp(ret, words[0], &actions, &attributes, words, environ));
}

/*
 * Reads to the end of file. Returns the number of bytes, -ETIMEDOUT, -EPROTO (more than fit) or
 * -errno.
 */
static ssize_t read_output(const struct aws_search *search, int fd, int64_t deadline, char *ret)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t used = 0;

    while (used < MAX_OUTPUT_BYTES) {
        ssize_t n;

        if (monotonic_ns() >= deadline || http_is_late(search->deadline_ns))
            return -ETIMEDOUT;
        if (poll(&ready, 1, STEP_MS) <= 0)
            continue;
        n = read(fd, ret + used, MAX_OUTPUT_BYTES - used);
        if (n == 0)
            return (ssize_t)used;
        if (n < 0 && errno != EINTR)
            return -errno;
        used += n > 0 ? (size_t)n : 0;
    }
    return -EPROTO;
}

/* Runs it to its end. Returns the size of what it printed, or -errno with search->why. */
static ssize_t run(const struct aws_search *search, char *const *words, char *ret)
{
    const int64_t deadline = monotonic_ns() + TIMEOUT_NS;
    _cleanup_close_ int in = -1, out = -1;
    int pipes[2], status, r;
    ssize_t n;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return aws_search_fail(search, -EIO, "cannot make a pipe: %s", strerrordesc_np(errno));
    in = pipes[0];
    out = pipes[1];
    r = start(words, out, &pid);
    if (r < 0)
        return aws_search_fail(search, r == -ENOMEM ? r : -EINVAL,
                               "credential_process %s can't be run: %s", words[0],
                               strerrordesc_np(-r));
    close_fd(take_fd(&out));
    n = read_output(search, in, deadline, ret);
    if (n < 0)
        (void)kill(-pid, SIGKILL);
    r = child_wait(pid, monotonic_ns() + GRACE_NS, &status);
    if (n == -ETIMEDOUT || r == -ETIMEDOUT)
        return aws_search_fail(search, -ETIMEDOUT, "credential_process %s doesn't end", words[0]);
    if (n < 0)
        return aws_search_fail(search, -EPROTO, "credential_process %s prints too much", words[0]);
    if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return aws_search_fail(search, -EACCES,
                               "credential_process %s failed (%s %d); run it by hand to see why",
                               words[0], r == 0 && WIFEXITED(status) ? "status" : "signal",
                               r < 0               ? 0
                               : WIFEXITED(status) ? WEXITSTATUS(status)
                                                   : WTERMSIG(status));
    return n;
}

int credential_process_run(const struct aws_search *search, const char *command,
                           struct aws_credentials *ret)
{
    char *words[CREDENTIAL_PROCESS_WORDS + 1];
    char copy[MAX_COMMAND_BYTES], output[MAX_OUTPUT_BYTES], why[512];
    ssize_t n;
    int r;

    if (strlen(command) >= sizeof(copy) ||
        credential_process_split(strcpy(copy, command), words) < 0)
        return aws_search_fail(search, -EINVAL, "credential_process is no command");
    n = run(search, words, output);
    if (n < 0) {
        explicit_bzero(output, sizeof(output));
        return (int)n;
    }
    r = aws_document_parse(output, (size_t)n, AWS_DOCUMENT_PROCESS, ret, why, sizeof(why));
    explicit_bzero(output, sizeof(output));
    return r < 0 ? aws_search_fail(search, r, "what credential_process %s prints can't be used: %s",
                                   words[0], why)
                 : 0;
}
