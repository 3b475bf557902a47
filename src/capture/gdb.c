#include "capture/gdb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/own_path.h"

#define MOST_OUTPUT_BYTES (64u << 20)
#define VERSION_NS 5000000000ll

/*
 * What gdb is to do. Settings come before the files are loaded (-iex): nothing that lies beside
 * them is to be run. Limits keep one huge array, or a stack overflow, from being all that is told.
 */
static const char *const settings[] = {
    "set auto-load no",
    "set debuginfod enabled off",
    "set pagination off",
    "set confirm off",
    "set width 0",
    "set height 0",
    "set print elements 200",
    "set print frame-arguments all",
    "set backtrace limit 2000",
};

static const char *const commands[] = {
    "x/i $pc", "info registers", "thread apply all -ascending bt full",
    "quit 0", /* otherwise the last command's success is gdb's */
};

#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))
#define N_OF_ROOT 2
#define MOST_ARGUMENTS (8 + 2 * N_SETTINGS + 2 * N_OF_ROOT + 2 * N_COMMANDS)

/* Where the files are in gdb, behind its standard streams: it opens them there by name, and so
 * needs no right to look into this process, which is undumpable (prctl(2)). */
enum { CORE_FD = STDERR_FILENO + 1, EXE_FD, ROOT_FD, END_FD };

#define CORE_PATH "/proc/self/fd/3"
#define EXE_PATH "/proc/self/fd/4"
#define ROOT_PATH "/proc/self/fd/5"

static const char *const root_settings[N_OF_ROOT] = {
    "set sysroot " ROOT_PATH,
    "set debug-file-directory " ROOT_PATH "/usr/lib/debug",
};

static bool has_gdb(const char *directory, int size, char *ret, size_t ret_size)
{
    return (size_t)snprintf(ret, ret_size, "%.*s/gdb", size, directory) < ret_size &&
           access(ret, X_OK) == 0;
}

int gdb_find(char *ret, size_t size)
{
    const char *path = getenv("PATH");

    if (own_path("gdb", ret, size) == 0 && access(ret, X_OK) == 0)
        return 0;
    while (path && *path) {
        const size_t part = strcspn(path, ":");

        /* The current directory is the crashed program's to fill. */
        if (path[0] == '/' && has_gdb(path, (int)part, ret, size))
            return 0;
        path += part + (path[part] == ':');
    }
    return -ENOENT;
}

bool gdb_is_there(void)
{
    char gdb[PATH_MAX];

    return gdb_find(gdb, sizeof(gdb)) == 0;
}

static void build_arguments(const char *gdb, const struct gdb_files *files, const char **ret)
{
    size_t n = 0;

    ret[n++] = gdb;
    ret[n++] = "-nx";
    ret[n++] = "-batch";
    ret[n++] = "-q";
    for (size_t i = 0; i < N_SETTINGS; i++) {
        ret[n++] = "-iex";
        ret[n++] = settings[i];
    }
    for (size_t i = 0; files->root_fd >= 0 && i < N_OF_ROOT; i++) {
        ret[n++] = "-iex";
        ret[n++] = root_settings[i];
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        ret[n++] = "-ex";
        ret[n++] = commands[i];
    }
    ret[n++] = "-core";
    ret[n++] = CORE_PATH;
    ret[n++] = files->exe_fd >= 0 ? EXE_PATH : NULL;
    ret[n] = NULL;
}

/* The file of an undumpable process, as the collector is, is root's. What is to become gdb may be
 * dumpable again: execve(2) makes it so anyway, and the limit of its core is 0 already. */
static void volunteer_for_oom(void)
{
    _cleanup_close_ int fd = -1;

    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        (void)write_text(fd, "1000");
}

/* Moves the files to where gdb looks for them, and closes everything else but standard streams. */
static int keep_files(const struct gdb_files *files)
{
    /* Out of each other's way first. */
    const int fds[] = {fcntl(files->core_fd, F_DUPFD_CLOEXEC, END_FD),
                       fcntl(files->exe_fd, F_DUPFD_CLOEXEC, END_FD),
                       fcntl(files->root_fd, F_DUPFD_CLOEXEC, END_FD)};

    for (int fd = CORE_FD; fd < END_FD; fd++) {
        close(fd);
        if (fds[fd - CORE_FD] >= 0 && dup2(fds[fd - CORE_FD], fd) < 0)
            return -errno;
    }
    closefrom(END_FD);
    return 0;
}

/* In the child: leaves everything else of this process behind. Returns only if that fails. */
static void become_gdb(const char *gdb, const char *const *arguments, char *const *environment,
                       const struct gdb_files *files, int out_fd, pid_t parent)
{
    const struct rlimit no_core = {0, 0}, little_output = {MOST_OUTPUT_BYTES, MOST_OUTPUT_BYTES};
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || setpgid(0, 0) < 0)
        return;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_FSIZE, &little_output);
    volunteer_for_oom();
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
        dup2(out_fd, STDERR_FILENO) < 0 || keep_files(files) < 0)
        return;
    execve(gdb, (char *const *)arguments, environment);
}

int gdb_start(const struct gdb_files *files, int out_fd, pid_t *ret_pid)
{
    const char *arguments[MOST_ARGUMENTS];
    char gdb[PATH_MAX], path[PATH_MAX];
    char *const environment[] = {path, "TERM=dumb", "LC_ALL=C", "HOME=/", NULL};
    const pid_t parent = getpid();
    pid_t pid;
    int r;

    r = gdb_find(gdb, sizeof(gdb));
    if (r < 0)
        return r;
    build_arguments(gdb, files, arguments);
    snprintf(path, sizeof(path), "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        become_gdb(gdb, arguments, environment, files, out_fd, parent);
        _exit(127);
    }
    (void)setpgid(pid, pid); /* here too: whoever comes first */
    *ret_pid = pid;
    return 0;
}

void gdb_version(const char *gdb, char *ret, size_t size)
{
    _cleanup_close_ int out_fd = memfd_create("gdb-version", MFD_CLOEXEC);
    const char *const arguments[] = {gdb, "--version", NULL};
    const struct gdb_files none = {-1, -1, -1};
    char *const environment[] = {"LC_ALL=C", "HOME=/", NULL}; /* it warns without a home */
    const pid_t parent = getpid();
    pid_t pid = out_fd < 0 ? -1 : fork();
    int status = 0;
    ssize_t n = 0;

    if (pid == 0) {
        become_gdb(gdb, arguments, environment, &none, out_fd, parent);
        _exit(127);
    }
    if (pid > 0 && child_wait(pid, monotonic_ns() + VERSION_NS, &status) == 0 && status == 0)
        n = pread_full(out_fd, ret, size - 1, 0);
    ret[n > 0 ? n : 0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
}

int gdb_finish(pid_t pid, int64_t deadline_ns)
{
    int status = 0;
    int r = child_wait(pid, deadline_ns, &status);

    (void)kill(-pid, SIGKILL); /* what it may have started */
    if (r < 0)
        return r;
    if (WIFSIGNALED(status)) {
        log_warning("gdb was killed by signal %d (%s) over this core", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
        return -EIO;
    }
    if (WEXITSTATUS(status) != 0) {
        log_warning("gdb failed with status %d", WEXITSTATUS(status));
        return -EIO;
    }
    return 0;
}
