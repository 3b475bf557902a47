#include "trace/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "trace/tracee.h"
#include "util/io.h"
#include "util/proc_text.h"

/* What the kernel takes back at every change of ids (commit_creds() of kernel/cred.c): prctl(2). */
struct lost_with_ids {
    int death_signal;
    int is_dumpable; /* /proc/1/fd/1 is where cron jobs write their log */
};

static struct lost_with_ids remember(void)
{
    struct lost_with_ids lost = {.is_dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)};

    (void)prctl(PR_GET_PDEATHSIG, &lost.death_signal, 0, 0, 0);
    return lost;
}

static void restore(const struct lost_with_ids *lost)
{
    if (lost->death_signal)
        (void)prctl(PR_SET_PDEATHSIG, lost->death_signal, 0, 0, 0);
    if (lost->is_dumpable == 1)
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void set_file_system_ids(uid_t uid, gid_t gid)
{
    const struct lost_with_ids lost = remember();

    (void)setfsgid(gid);
    (void)setfsuid(uid);
    restore(&lost);
}

void identity_be_like(pid_t pid)
{
    uid_t uid;
    gid_t gid;

    if (tracee_effective_ids(pid, &uid, &gid) && (uid != geteuid() || gid != getegid()))
        set_file_system_ids(uid, gid);
}

void identity_be_oneself(void)
{
    /* setfsuid(2) tells the id before, whatever it is asked for. */
    if ((uid_t)setfsuid((uid_t)-1) != geteuid() || (gid_t)setfsgid((gid_t)-1) != getegid())
        set_file_system_ids(geteuid(), getegid());
}

int identity_as_owner(pid_t pid, int (*action)(pid_t pid, const void *argument),
                      const void *argument)
{
    const uid_t own_uid = getuid();
    const gid_t own_gid = getgid();
    struct lost_with_ids lost;
    uid_t uid;
    gid_t gid;
    int r = action(pid, argument);

    if (r != -EPERM || !tracee_effective_ids(pid, &uid, &gid) || (uid == own_uid && gid == own_gid))
        return r;
    lost = remember();
    if (setresgid(gid, (gid_t)-1, (gid_t)-1) == 0 && setresuid(uid, (uid_t)-1, (uid_t)-1) == 0)
        r = action(pid, argument);
    if (setresuid(own_uid, (uid_t)-1, (uid_t)-1) < 0 ||
        setresgid(own_gid, (gid_t)-1, (gid_t)-1) < 0)
        r = -errno;
    restore(&lost);
    return r;
}

static int set_core_limit(pid_t pid, const void *limit)
{
    return prlimit(pid, RLIMIT_CORE, limit, NULL) < 0 ? -errno : 0;
}

void identity_trace_like(pid_t pid, struct identity *ret_own)
{
    uid_t uid;
    gid_t gid;

    *ret_own = (struct identity){getuid(), getgid()};
    if (geteuid() == 0 && !identity_may_trace_all() && tracee_effective_ids(pid, &uid, &gid) &&
        setresgid(gid, (gid_t)-1, (gid_t)-1) == 0)
        (void)!setresuid(uid, (uid_t)-1, (uid_t)-1);
}

int identity_return(const struct identity *own)
{
    return setresuid(own->uid, (uid_t)-1, (uid_t)-1) < 0 ||
                   setresgid(own->gid, (gid_t)-1, (gid_t)-1) < 0
               ? -errno
               : 0;
}

int identity_set_core_limit(pid_t pid, const struct rlimit *limit)
{
    return identity_as_owner(pid, set_core_limit, limit);
}

int identity_yama_scope(void)
{
    char text[8];

    return read_text_at(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text)) > 0
               ? atoi(text)
               : -1;
}

bool identity_may_trace_all(void)
{
    char status[4096];
    const char *effective;

    if (read_text_at(AT_FDCWD, "/proc/self/status", status, sizeof(status)) < 0)
        return false;
    effective = proc_line(status, "CapEff:");
    return effective && (strtoull(effective, NULL, 16) & 1ull << CAP_SYS_PTRACE);
}

int identity_become_owner(pid_t pid)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0 || identity_may_trace_all() || !tracee_effective_ids(pid, &uid, &gid) ||
        (uid == 0 && gid == getegid()))
        return 0;
    return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}
