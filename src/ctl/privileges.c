#include "ctl/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/log.h"

#define BIT(capability) ((uint64_t)1 << (capability))

/* libcap's functions may change all threads of a process; capset(2) is the calling one's. */
static bool get(struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &header, data) == 0;
}

static uint64_t permitted(const struct __user_cap_data_struct data[2])
{
    return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

/* Gives up what isn't in @kept. Inheritable ones would come back at an execve(2), and with them go
 * the ambient ones: coreinit shares CAP_SYS_PTRACE so. */
static void keep(uint64_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!get(data))
        return;
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(kept >> 32 * i);
        data[i].effective &= data[i].permitted;
        data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &header, data) < 0)
        log_errno(errno, "cannot give up capabilities");
}

void privileges_keep_for_collecting(void)
{
    struct __user_cap_data_struct data[2];
    const uint64_t needed =
        BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER);

    if (get(data))
        keep(permitted(data) & BIT(CAP_SYS_PTRACE) ? needed : permitted(data));
}

void privileges_keep_for_sending(void)
{
    struct __user_cap_data_struct data[2];

    if (get(data))
        keep(permitted(data) & BIT(CAP_DAC_READ_SEARCH) ? BIT(CAP_DAC_READ_SEARCH)
                                                        : BIT(CAP_DAC_OVERRIDE));
}

void privileges_keep_for_sweeping(void)
{
    keep(BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER));
}
