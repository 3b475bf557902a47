#include "init/privilege.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

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
