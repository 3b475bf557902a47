#include "init/privilege.h"

#include <errno.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "init/tracee.h"

static bool has(cap_t caps, cap_value_t capability, cap_flag_t flag)
{
    cap_flag_value_t value = CAP_CLEAR;

    return caps && cap_get_flag(caps, capability, flag, &value) == 0 && value == CAP_SET;
}

bool privilege_has(cap_value_t capability)
{
    cap_t caps = cap_get_proc();
    bool is_held = has(caps, capability, CAP_EFFECTIVE);

    cap_free(caps);
    return is_held;
}

/* execve(2) of a non-root program keeps only ambient capabilities, which must be inheritable too.
 */
static int make_ambient(cap_t caps)
{
    static const cap_value_t ptrace = CAP_SYS_PTRACE;

    if (cap_set_flag(caps, CAP_INHERITABLE, 1, &ptrace, CAP_SET) < 0 || cap_set_proc(caps) < 0 ||
        cap_set_ambient(CAP_SYS_PTRACE, CAP_SET) < 0)
        return -errno;
    return 0;
}

int privilege_share_ptrace(char *why, size_t why_size)
{
    cap_t caps;
    int r = 0;

    if (cap_get_bound(CAP_SYS_PTRACE) <= 0) {
        snprintf(why, why_size,
                 "CAP_SYS_PTRACE is not in the bounding set: add it with --cap-add SYS_PTRACE "
                 "or linuxParameters.capabilities");
        return -EPERM;
    }
    caps = cap_get_proc();
    if (!has(caps, CAP_SYS_PTRACE, CAP_PERMITTED)) {
        snprintf(why, why_size,
                 "CAP_SYS_PTRACE is allowed to the container but not held by uid %u: run as root, "
                 "or setcap cap_sys_ptrace+p coreinit",
                 (unsigned)geteuid());
        r = -EPERM;
    } else if (geteuid() != 0 && make_ambient(caps) < 0) {
        snprintf(why, why_size, "CAP_SYS_PTRACE cannot be made ambient for uid %u",
                 (unsigned)geteuid());
        r = -EPERM;
    }
    cap_free(caps);
    return r;
}

void privilege_allow_tracers(void)
{
    /* -EINVAL: no Yama, where nothing is in the way. */
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
}

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

void privilege_be_like(pid_t pid)
{
    uid_t uid;
    gid_t gid;

    if (tracee_effective_ids(pid, &uid, &gid) && (uid != geteuid() || gid != getegid()))
        set_file_system_ids(uid, gid);
}

void privilege_be_oneself(void)
{
    /* setfsuid(2) tells the id before, whatever it is asked for. */
    if ((uid_t)setfsuid((uid_t)-1) != geteuid() || (gid_t)setfsgid((gid_t)-1) != getegid())
        set_file_system_ids(geteuid(), getegid());
}

int privilege_set_core_limit(pid_t pid, const struct rlimit *limit)
{
    const uid_t own_uid = getuid();
    const gid_t own_gid = getgid();
    struct lost_with_ids lost;
    uid_t uid;
    gid_t gid;
    int r;

    if (prlimit(pid, RLIMIT_CORE, limit, NULL) == 0)
        return 0;
    r = -errno;
    if (r != -EPERM || !tracee_effective_ids(pid, &uid, &gid))
        return r;
    lost = remember();
    if (setresgid(gid, (gid_t)-1, (gid_t)-1) == 0 && setresuid(uid, (uid_t)-1, (uid_t)-1) == 0)
        r = prlimit(pid, RLIMIT_CORE, limit, NULL) < 0 ? -errno : 0;
    if (setresuid(own_uid, (uid_t)-1, (uid_t)-1) < 0 ||
        setresgid(own_gid, (gid_t)-1, (gid_t)-1) < 0)
        r = -errno;
    restore(&lost);
    return r;
}
