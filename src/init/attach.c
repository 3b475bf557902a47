#include "init/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init/lending.h"
#include "trace/identity.h"
#include "trace/named.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/io.h"
#include "util/log.h"

/* A look costs 1 % of the time at most, however many processes there are. */
#define SHORTEST_PAUSE_MS 20
#define PAUSE_PER_COST 100

#define LOST_PAUSE_MS 1000

#define FIRST_REFUSAL_PAUSE_MS 500
#define LAST_REFUSAL_PAUSE_MS 60000

#define CAPABILITY_MEND                                                                            \
    "run coreinit as root with CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE, "                  \
    "securityContext.capabilities, linuxParameters.capabilities) or as the same user"

static int64_t now_ms(void)
{
    return monotonic_ns() / 1000000;
}

bool attach_is_asked(const struct options *options)
{
    return options->attach_name[0] || options->attach_pid;
}

void attach_begin(const struct options *options, struct attach *ret, struct capture_mode *ret_mode)
{
    *ret = (struct attach){
        .is_on = true,
        .name = options->attach_name,
        .pid = (pid_t)options->attach_pid,
    };
    *ret_mode = (struct capture_mode){.is_on = true, .is_traced = true, .is_core_expected = true};
    strcpy(ret_mode->name, "ptrace");
    if (ret->name[0])
        snprintf(ret_mode->why, sizeof(ret_mode->why), "attached to the process named '%s'",
                 ret->name);
    else
        snprintf(ret_mode->why, sizeof(ret_mode->why), "attached to pid %d", ret->pid);
}

/* Why PTRACE_SEIZE of a process was refused, and what to do about it. */
static const char *explain(pid_t pid, char *ret, size_t size)
{
    const pid_t other = tracee_tracer(pid);
    const int scope = identity_yama_scope();
    char name[64], why[160];
    uid_t uid = 0;
    gid_t gid = 0;

    if (other) {
        named_read(other, name, sizeof(name));
        snprintf(ret, size, "%s (pid %d) traces it already, and a process has one tracer", name,
                 other);
        return "let that one go; a coreinit in its own container needs no other one here";
    }
    if (tracer_probe(why, sizeof(why)) < 0) {
        snprintf(ret, size, "%s", why);
        return "a seccomp profile with ptrace(2), and kernel.yama.ptrace_scope below 3";
    }
    if (!identity_may_trace_all()) {
        (void)tracee_effective_ids(pid, &uid, &gid);
        if (scope > 0)
            snprintf(ret, size,
                     "kernel.yama.ptrace_scope is %d, and coreinit (uid %u) has no CAP_SYS_PTRACE",
                     scope, (unsigned)geteuid());
        else
            snprintf(ret, size,
                     "it is uid %u's, with capabilities or undumpable perhaps, and coreinit (uid "
                     "%u) has no CAP_SYS_PTRACE",
                     (unsigned)uid, (unsigned)geteuid());
        return CAPABILITY_MEND;
    }
    snprintf(ret, size, "it is in another user namespace, or AppArmor or SELinux forbids it");
    return "give both containers the same user namespace and security profile";
}

/* A cause is told once, also where each of a row of processes has it. */
static void tell_refusal(struct attach *attach, pid_t pid, int error)
{
    char cause[sizeof(attach->told)], name[64];
    const char *mend = "see ptrace(2)";

    if (error == -EPERM || error == -EACCES)
        mend = explain(pid, cause, sizeof(cause));
    else
        snprintf(cause, sizeof(cause), "%s", strerrordesc_np(-error));
    if (tracee_has_ended(pid) || strcmp(cause, attach->told) == 0)
        return;
    strcpy(attach->told, cause);
    named_read(pid, name, sizeof(name));
    log_warning("cannot attach to %s (pid %d): %s; mend: %s. Its crash is not captured; coreinit "
                "tries again",
                name, pid, cause, mend);
}

static void be_refused(struct attach *attach, pid_t pid, int error)
{
    if (attach->refused != pid)
        attach->refusal_pause = FIRST_REFUSAL_PAUSE_MS;
    else if (attach->refusal_pause < LAST_REFUSAL_PAUSE_MS / 2)
        attach->refusal_pause *= 2;
    else
        attach->refusal_pause = LAST_REFUSAL_PAUSE_MS;
    attach->refused = pid;
    attach->next = now_ms() + attach->refusal_pause;
    tell_refusal(attach, pid, error);
}

static void tell_waiting(struct attach *attach)
{
    if (attach->told_waiting)
        return;
    attach->told_waiting = true;
    if (getpid() == 1)
        log_warning("no process named '%s' can be seen, and none will be: this container has a pid "
                    "namespace of its own; mend: docker run --pid=container:NAME, "
                    "shareProcessNamespace: true, or \"pidMode\": \"task\"",
                    attach->name);
    else
        log_notice("no process named '%s' runs: waiting for one", attach->name);
}

/* Returns the process, or 0. */
static pid_t find(struct attach *attach)
{
    pid_t pid = 0;
    size_t count;

    if (!attach->name[0])
        return tracee_has_ended(attach->pid) ? 0 : tracee_process(attach->pid, NULL);
    count = named_find(attach->name, &pid, 1);
    if (count == 0)
        tell_waiting(attach);
    else if (count > 1 && pid != attach->refused)
        log_warning("%zu processes named '%s' run that aren't each other's: pid %d is the oldest, "
                    "and the others are not watched; mend: a coreinit for each, with --attach-pid",
                    count, attach->name, pid);
    return pid;
}

/* What descends from a process that was attached to is ours already. Returns 0 or -errno. */
static int seize(struct tracer *tracer, pid_t pid)
{
    int r = tracee_has_thread_of_ours(pid) ? 0 : tracer_seize_all(tracer, pid);

    if (r < 0)
        return r;
    return tracee_has_thread_of_ours(pid) ? 0 : -ESRCH;
}

pid_t attach_seek(struct attach *attach, struct tracer *tracer)
{
    const int64_t begin = monotonic_ns();
    const pid_t pid = find(attach);
    const int64_t cost_ms = (monotonic_ns() - begin) * PAUSE_PER_COST / 1000000;
    char name[64];
    int r;

    attach->next = now_ms() + (cost_ms > SHORTEST_PAUSE_MS ? cost_ms : SHORTEST_PAUSE_MS);
    if (!pid)
        return attach->name[0] ? 0 : -ESRCH;
    r = seize(tracer, pid);
    if (r < 0) {
        if (r != -ESRCH)
            be_refused(attach, pid, r);
        return 0;
    }
    named_read(pid, name, sizeof(name));
    log_notice("attached to %s, pid %d: when a signal kills it, it is held while its core is read",
               name, pid);
    attach->refused = 0;
    attach->told_waiting = false;
    attach->told[0] = '\0';
    return pid;
}

bool attach_is_lost(struct attach *attach, const struct tracer *tracer, pid_t pid)
{
    attach->next = now_ms() + LOST_PAUSE_MS;
    /* Its borrower may stay for hours after its end: a debugger at its prompt. */
    return !tracee_has_thread_of_ours(pid) && (!lending_has(tracer, pid) || tracee_has_ended(pid));
}
