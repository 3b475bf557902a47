#include "capture/live_registers.h"

#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/reg.h>

/* struct x86_xfeat_component of the kernel's asm/elf.h. */
struct xsave_record {
    uint32_t feature, size, offset, flags;
};

#define XSAVE_LEAF 13
#define FIRST_EXTENDED_FEATURE 2 /* x87 and SSE have their place since FXSAVE */

/* Within NT_X86_XSTATE: which features the kernel has enabled (linux/ptrace.h of x86). */
#define XSTATE_ENABLED_OFFSET 464

uint64_t live_stack_pointer(const elf_gregset_t registers)
{
    return registers[RSP];
}

uint64_t live_thread_pointer(const elf_gregset_t registers)
{
    return registers[FS_BASE];
}

uint64_t live_interrupted_stack_pointer(const ucontext_t *context)
{
    return (uint64_t)context->uc_mcontext.gregs[REG_RSP];
}

size_t live_xsave_layout(const void *xstate, size_t size, void *ret)
{
    uint64_t enabled;
    size_t used = 0;

    if (size < XSTATE_ENABLED_OFFSET + sizeof(enabled))
        return 0;
    memcpy(&enabled, (const char *)xstate + XSTATE_ENABLED_OFFSET, sizeof(enabled));
    for (uint32_t feature = FIRST_EXTENDED_FEATURE; feature < 63; feature++) {
        struct xsave_record record = {.feature = feature};
        uint32_t ecx, edx;

        if (!(enabled >> feature & 1) ||
            !__get_cpuid_count(XSAVE_LEAF, feature, &record.size, &record.offset, &ecx, &edx))
            continue;
        memcpy((char *)ret + used, &record, sizeof(record));
        used += sizeof(record);
    }
    return used;
}

#elif defined(__aarch64__)

#define STACK_POINTER 31

uint64_t live_stack_pointer(const elf_gregset_t registers)
{
    return registers[STACK_POINTER];
}

uint64_t live_thread_pointer(const elf_gregset_t registers)
{
    (void)registers; /* it is in NT_ARM_TLS */
    return 0;
}

uint64_t live_interrupted_stack_pointer(const ucontext_t *context)
{
    return context->uc_mcontext.sp;
}

size_t live_xsave_layout(const void *xstate, size_t size, void *ret)
{
    (void)xstate;
    (void)size;
    (void)ret;
    return 0;
}

#endif
