#include "init/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/privilege.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/*
 * Job control: the program leads its own group. It takes the terminal only where coreinit had it,
 * so that `coreinit program &` doesn't steal it from the shell. SIGTTOU is still ignored here.
 */
static int lead_group(void)
{
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    pid_t own = getpgrp();

    if (setpgid(0, 0) < 0)
        return -errno;
    if (foreground >= 0 && foreground == own)
        (void)tcsetpgrp(STDIN_FILENO, getpgrp());
    return 0;
}

static int become_program(char **argv, const struct signal_state *given, bool is_traceable)
{
    int r = lead_group();

    if (r < 0)
        return r;
    if (is_traceable)
        privilege_allow_tracers();
    r = signals_give_back(given);
    if (r < 0)
        return r;
    execvp(argv[0], argv);
    return -errno;
}

pid_t spawn_program(char **argv, const struct signal_state *given, bool is_traceable)
{
    _cleanup_close_ int report_fd = -1;
    int ends[2], error = 0;
    pid_t pid;

    /* execve(2) closes the child's end; an error comes through it. */
    if (pipe2(ends, O_CLOEXEC) < 0) {
        log_errno(errno, "cannot start %s: no pipe", argv[0]);
        return -1;
    }
    report_fd = ends[0];
    pid = fork();
    if (pid == 0) {
        error = become_program(argv, given, is_traceable);
        (void)write_all(ends[1], &error, sizeof(error));
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0) {
        log_errno(errno, "cannot start %s: no process could be made", argv[0]);
        return -1;
    }
    if (read_full(report_fd, &error, sizeof(error)) != sizeof(error))
        return pid;

    waitpid(pid, NULL, 0);
    if (error == -ENOENT || error == -ENOTDIR) {
        log_error("cannot start %s: not found; is it in the image, and its script's interpreter?",
                  argv[0]);
        return -127;
    }
    log_errno(error, "cannot start %s", argv[0]);
    return -126;
}
