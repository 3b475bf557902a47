#include "init/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "init/privilege.h"
#include "trace/tracee.h"

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

/* SECCOMP_USER_NOTIF_FLAG_CONTINUE came with Linux 5.5; a call that can't be let on would hang. */
static bool has_continue(void)
{
    struct utsname name;
    int major, minor;

    return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
           (major > 5 || (major == 5 && minor >= 5));
}

bool handover_is_possible(void)
{
    if (!has_continue())
        return false;
    return privilege_has(CAP_SYS_ADMIN) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
           !privilege_has(CAP_SYS_PTRACE);
}

int handover_install(void)
{
#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count)
#define SKIP_IF(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, count, 0)
    struct sock_filter filter[] = {
        LOAD(arch),
        SKIP_UNLESS(OWN_ARCHITECTURE, 7),
        LOAD(nr),
        SKIP_UNLESS(SYS_ptrace, 5),
        LOAD(args[0]), /* the lower half, on the machines that we know */
        SKIP_IF(PTRACE_TRACEME, 4),
        SKIP_IF(PTRACE_ATTACH, 3),
        SKIP_IF(PTRACE_SEIZE, 2),
        SKIP_IF(PTRACE_DETACH, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    long fd;

    if (!privilege_has(CAP_SYS_ADMIN) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    /* Without SPEC_ALLOW older kernels slow the program down (Speculative Store Bypass). */
    fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd < 0 ? -errno : (int)fd;
}

int handover_read(int fd, struct handover_call *ret)
{
    struct seccomp_notif call = {0};
    uint32_t request; /* as the filter looks at it */

    if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
        return -errno;
    request = (uint32_t)call.data.args[0];
    ret->id = call.id;
    ret->tracee = ret->tracer = 0;
    ret->ends = request == PTRACE_DETACH;
    if (request == PTRACE_TRACEME) {
        ret->tracee = (pid_t)call.pid;
        ret->tracer = tracee_parent((pid_t)call.pid);
    } else if (tracee_shares_namespace((pid_t)call.pid)) {
        /* The numbers that a process uses are its namespace's. */
        ret->tracee = (pid_t)call.data.args[1];
        ret->tracer = tracee_process((pid_t)call.pid, NULL);
    }
    return 0;
}

void handover_go_on(int fd, const struct handover_call *call)
{
    struct seccomp_notif_resp answer = {
        .id = call->id,
        .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
    };

    /* ENOENT: its thread was interrupted, and will call again. */
    (void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}
