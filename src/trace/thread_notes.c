#include "trace/thread_notes.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <sys/procfs.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "trace/thread_note.h"
#include "util/io.h"

#ifndef NT_X86_SHSTK
#define NT_X86_SHSTK 0x204 /* linux/elf.h since 6.6 */
#endif

/*
 * What the kernel's coredump writes of a thread: arch/x86/kernel/ptrace.c, x86_64_regsets, and
 * arch/arm64/kernel/ptrace.c, aarch64_regsets. A set that this processor lacks is refused.
 */
static const unsigned register_sets[] = {
    NT_PRSTATUS,
    NT_PRFPREG,
#if defined(__x86_64__)
    NT_X86_XSTATE,
    NT_X86_SHSTK,
#elif defined(__aarch64__)
    NT_ARM_TLS,  NT_ARM_HW_BREAK, NT_ARM_HW_WATCH,         NT_ARM_SYSTEM_CALL,
    NT_ARM_SVE,  NT_ARM_PAC_MASK, NT_ARM_TAGGED_ADDR_CTRL,
#else
#error "the register sets of this machine are not known: see its arch/*/kernel/ptrace.c"
#endif
};

static int append(int fd, pid_t tid, unsigned type, const void *data, size_t size)
{
    const struct thread_note note = {.tid = tid, .type = type, .size = (uint32_t)size};
    static const char padding[8];
    int r = write_all(fd, &note, sizeof(note));

    if (r == 0)
        r = write_all(fd, data, size);
    if (r == 0 && size % 8 != 0)
        r = write_all(fd, padding, 8 - size % 8);
    return r;
}

int thread_notes_save(pid_t tid, const siginfo_t *siginfo, int fd)
{
    _Alignas(64) char registers[THREAD_NOTE_MAX];

    for (size_t i = 0; i < sizeof(register_sets) / sizeof(register_sets[0]); i++) {
        struct iovec part = {registers, sizeof(registers)};
        int r;

        if (ptrace(PTRACE_GETREGSET, tid, (long)register_sets[i], &part) < 0) {
            if (register_sets[i] == NT_PRSTATUS)
                return -errno;
            continue;
        }
        if (register_sets[i] == NT_PRSTATUS && part.iov_len != sizeof(elf_gregset_t))
            return -ENOTSUP;
        if (part.iov_len == 0)
            continue;
        r = append(fd, tid, register_sets[i], registers, part.iov_len);
        if (r == 0 && register_sets[i] == NT_PRSTATUS && siginfo)
            r = append(fd, tid, NT_SIGINFO, siginfo, sizeof(*siginfo));
        if (r < 0)
            return r;
    }
    return 0;
}
