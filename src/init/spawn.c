#include "init/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/handover.h"
#include "init/privilege.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define STOP_LOOK_MS 10

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

/* One message: an error, or where that is 0 a descriptor. */
static void report(int socket, int error, int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
    struct iovec part = {&error, sizeof(error)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *header = (struct cmsghdr *)control;

        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    (void)sendmsg(socket, &message, MSG_NOSIGNAL);
}

/* A signal may stop the child before it executes: it is traced, and nobody else looks yet. */
static void see_stop(struct tracer *tracer, pid_t pid)
{
    siginfo_t stop = {0};
    struct fatal_stop fatal;

    if (waitid(P_PID, (id_t)pid, &stop, WSTOPPED | WNOHANG | __WALL) == 0 && stop.si_pid != 0 &&
        tracer_see_stop(tracer, &stop, &fatal))
        tracer_pass(&fatal);
}

/* Returns false at the end of the messages. */
static bool hear(int socket, int *ret_error, int *ret_fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {ret_error, sizeof(*ret_error)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    const struct cmsghdr *header;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof(*ret_error))
        return false;
    header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
    return true;
}

/* What the program can't have is no reason not to start it. */
static void see_own_tracing(int socket)
{
    int fd = handover_install();

    if (fd < 0) {
        log_info("the program can't trace processes of its own: %s", strerrordesc_np(-fd));
        return;
    }
    report(socket, 0, fd);
    close(fd);
}

static int become_program(char **argv, const struct signal_state *given, bool is_traceable,
                          bool hands_over, int socket)
{
    int r = lead_group();

    if (r < 0)
        return r;
    if (is_traceable)
        privilege_allow_tracers();
    r = signals_give_back(given);
    if (r < 0)
        return r;
    if (hands_over)
        see_own_tracing(socket);
    execvp(argv[0], argv);
    return -errno;
}

static void seize(struct tracer *tracer, pid_t pid)
{
    int r = tracer->is_on ? tracer_seize(pid) : 0;

    if (r == 0)
        return;
    tracer->is_on = false;
    log_warning("the program can't be traced (%s): a crash is the kernel's to capture",
                strerrordesc_np(-r));
}

static void reap(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
        (void)ptrace(PTRACE_CONT, pid, 0, 0);
}

pid_t spawn_program(char **argv, const struct signal_state *given, bool is_traceable,
                    struct tracer *tracer)
{
    _cleanup_close_ int own_end = -1;
    int ends[2], error = 0;
    bool hands_over;
    pid_t pid;

    /* The child waits until it is traced. execve(2) closes its end; an error comes through it. */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        log_errno(errno, "cannot start %s: no socket pair", argv[0]);
        return -1;
    }
    own_end = ends[0];
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        if (read(ends[1], &hands_over, sizeof(hands_over)) == sizeof(hands_over))
            report(ends[1], become_program(argv, given, is_traceable, hands_over, ends[1]), -1);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0) {
        log_errno(errno, "cannot start %s: no process could be made", argv[0]);
        return -1;
    }
    seize(tracer, pid);
    hands_over = tracer->is_on && tracer->hands_over;
    (void)write_all(own_end, &hands_over, sizeof(hands_over));
    tracer->calls_fd = -1;
    do {
        struct pollfd message = {.fd = own_end, .events = POLLIN};

        while (tracer->is_on && poll(&message, 1, STOP_LOOK_MS) == 0)
            see_stop(tracer, pid);
    } while (hear(own_end, &error, &tracer->calls_fd) && error == 0);
    if (error == 0)
        return pid;

    reap(pid);
    if (error == -ENOENT || error == -ENOTDIR) {
        log_error("cannot start %s: not found; is it in the image, and its script's interpreter?",
                  argv[0]);
        return -127;
    }
    log_errno(error, "cannot start %s", argv[0]);
    return -126;
}
