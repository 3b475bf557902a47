#include "capture/injected_call.h"

#include <errno.h>

#if defined(__x86_64__)

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include "util/child.h"
#include "util/cleanup.h"

#define USER_CODE_64 0x33 /* code segment: __USER_CS of the kernel's asm/segment.h */

/* Why a system call was interrupted, and that it is to be restarted: linux/errno.h. */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

#define SYSCALL_BYTES 2 /* of the instruction */

#define PATIENCE_NS 10000000000ll
#define FIRST_PAUSE_NS 20000
#define LAST_PAUSE_NS 500000

/* Stops of PTRACE_O_TRACESYSGOOD. */
#define SYSCALL_STOP (SIGTRAP | 0x80)

/*
 * clone(2): the new process, which is told 0, ends; in the other one, as behind any other call, all
 * registers that the call or this code changes become what they were, and the thread goes on where
 * it was. mov and jrcxz change no flags. A new process makes its calls last, and ends behind them.
 */
__asm__(".pushsection .rodata\n"
        "injected_stub:\n"
        "    syscall\n"
        "    mov %rax, %rcx\n"
        "    jrcxz 1f\n"
        "    jmp 3f\n"
        "injected_stub_of_call:\n"
        "    syscall\n"
        "3:  mov 2f+0(%rip), %rax\n"
        "    mov 2f+8(%rip), %rdi\n"
        "    mov 2f+16(%rip), %rsi\n"
        "    mov 2f+24(%rip), %rdx\n"
        "    mov 2f+32(%rip), %r10\n"
        "    mov 2f+40(%rip), %r8\n"
        "    mov 2f+48(%rip), %r9\n"
        "    mov 2f+56(%rip), %r11\n"
        "    mov 2f+64(%rip), %rcx\n"
        "    jmp *2f+72(%rip)\n"
        "injected_stub_of_clone:\n"
        "    syscall\n"
        "1:  mov $231, %eax\n" /* exit_group */
        "    mov $113, %edi\n" /* INJECTED_CLONE_STATUS */
        "    syscall\n"
        "    ud2\n"
        "    .balign 8, 0x90\n"
        "2:\n"
        "injected_stub_end:\n"
        ".popsection\n");

extern const char injected_stub[], injected_stub_of_call[], injected_stub_of_clone[],
    injected_stub_end[];

#define MOST_CODE_BYTES 128

/* What the code above reloads, in its order. */
struct saved_registers {
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9, r11, rcx, rip;
};

struct stub {
    _Alignas(8) char bytes[MOST_CODE_BYTES + sizeof(struct saved_registers)];
};

/* Where a label of the code is, from its beginning. */
static size_t offset_of(const char *label)
{
    return (size_t)((uintptr_t)label - (uintptr_t)injected_stub);
}

static size_t code_size(void)
{
    return offset_of(injected_stub_end);
}

static size_t stub_size(void)
{
    return code_size() + sizeof(struct saved_registers);
}

static int get_registers(pid_t tid, struct user_regs_struct *ret)
{
    struct iovec part = {ret, sizeof(*ret)};

    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &part) < 0)
        return -errno;
    return part.iov_len == sizeof(*ret) ? 0 : -ENOTSUP;
}

static int set_registers(pid_t tid, const struct user_regs_struct *registers)
{
    struct iovec part = {(void *)registers, sizeof(*registers)};

    return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &part) < 0 ? -errno : 0;
}

static int peek(pid_t tid, uint64_t address, void *ret, size_t size)
{
    for (size_t at = 0; at < size; at += sizeof(long)) {
        long word;

        errno = 0;
        word = ptrace(PTRACE_PEEKDATA, tid, address + at, 0);
        if (errno)
            return -errno;
        memcpy((char *)ret + at, &word, sizeof(word));
    }
    return 0;
}

/* From its beginning on. */
static int write_stub(pid_t tid, uint64_t address, const struct stub *stub)
{
    for (size_t at = 0; at < stub_size(); at += sizeof(long)) {
        long word;

        memcpy(&word, stub->bytes + at, sizeof(word));
        if (ptrace(PTRACE_POKEDATA, tid, address + at, word) < 0)
            return -errno;
    }
    return 0;
}

/* From its end on, so that what a killed tracer leaves is a beginning too. */
static int erase_stub(pid_t tid, uint64_t address)
{
    for (size_t at = stub_size(); at > 0; at -= sizeof(long))
        if (ptrace(PTRACE_POKEDATA, tid, address + at - sizeof(long), 0) < 0)
            return -errno;
    return 0;
}

static int find_vdso_end(pid_t tid, uint64_t *ret)
{
    _cleanup_fclose_ FILE *maps = NULL;
    char path[32], line[512];
    unsigned long long start, end;
    int name_at;

    snprintf(path, sizeof(path), "/proc/%d/maps", tid);
    maps = fopen(path, "re");
    while (maps && fgets(line, sizeof(line), maps)) {
        name_at = 0;
        if (sscanf(line, "%llx-%llx r-xp %*s %*s %*s %n", &start, &end, &name_at) == 2 &&
            name_at > 0 && strcmp(line + name_at, "[vdso]\n") == 0) {
            *ret = end;
            return 0;
        }
    }
    return maps ? -ENOENT : -errno;
}

/*
 * Null bytes, or what a tracer left that was killed: a part of the code from its beginning, or all
 * of it and registers.
 */
static bool is_free(const struct stub *there)
{
    static const struct stub nothing;
    bool is_whole = true;

    for (size_t at = 0; at < code_size(); at += sizeof(long)) {
        const bool is_ours = memcmp(there->bytes + at, injected_stub + at, sizeof(long)) == 0;

        if (!is_ours && memcmp(there->bytes + at, &nothing, sizeof(long)) != 0)
            return false;
        is_whole &= is_ours;
    }
    return is_whole ||
           memcmp(there->bytes + code_size(), &nothing, sizeof(struct saved_registers)) == 0;
}

int call_site_find(pid_t tid, struct call_site *ret)
{
    struct stub there;
    uint64_t end = 0;
    int r = find_vdso_end(tid, &end);

    if (r < 0)
        return r;
    ret->address = end - stub_size();
    r = peek(tid, ret->address, &there, stub_size());
    if (r < 0)
        return r;
    return is_free(&there) ? 0 : -ENOSPC;
}

/* Whether no sequence is registered, or none is under way (Linux 5.13). */
static bool is_outside_sequences(pid_t tid)
{
    struct __ptrace_rseq_configuration rseq = {0};
    uint64_t critical_section;

    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(rseq), &rseq) != sizeof(rseq))
        return false;
    /* Behind cpu_id_start and cpu_id of struct rseq. */
    return rseq.rseq_abi_pointer == 0 || (peek(tid, rseq.rseq_abi_pointer + 8, &critical_section,
                                               sizeof(critical_section)) == 0 &&
                                          critical_section == 0);
}

/* At a signal's delivery the kernel is about to make a frame for it. */
static bool is_at_signal(pid_t tid)
{
    siginfo_t stop;

    return ptrace(PTRACE_GETSIGINFO, tid, 0, &stop) < 0 || stop.si_code >> 8 != PTRACE_EVENT_STOP;
}

int injected_call_possible(const struct call_site *site, pid_t tid, bool *ret_sleeps)
{
    struct user_regs_struct registers = {0};
    int r = get_registers(tid, &registers);

    if (r < 0)
        return r;
    if (registers.rip >= site->address && registers.rip < site->address + stub_size())
        return -ESTALE;
    if (registers.cs != USER_CODE_64)
        return -ENOTSUP;
    if (is_at_signal(tid))
        return -EINTR;
    *ret_sleeps = (long)registers.orig_rax >= 0;
    return *ret_sleeps || is_outside_sequences(tid) ? 0 : -EBUSY;
}

/* Where a thread that nobody traces any more goes on: arch_do_signal_or_restart() of the kernel's
 * arch/x86/kernel/signal.c, for a thread without signals. */
static struct saved_registers go_on_from(const struct user_regs_struct *registers)
{
    struct saved_registers saved = {
        .rax = registers->rax,
        .rdi = registers->rdi,
        .rsi = registers->rsi,
        .rdx = registers->rdx,
        .r10 = registers->r10,
        .r8 = registers->r8,
        .r9 = registers->r9,
        .r11 = registers->r11,
        .rcx = registers->rcx,
        .rip = registers->rip,
    };

    if ((long)registers->orig_rax < 0)
        return saved;
    switch (-(long)registers->rax) {
    case ERESTARTSYS:
    case ERESTARTNOINTR:
    case ERESTARTNOHAND:
        saved.rax = registers->orig_rax;
        saved.rip -= SYSCALL_BYTES;
        break;
    case ERESTART_RESTARTBLOCK:
        saved.rax = SYS_restart_syscall;
        saved.rip -= SYSCALL_BYTES;
        break;
    }
    return saved;
}

static struct user_regs_struct with_call(const struct user_regs_struct *registers,
                                         const struct injected_call *call, uint64_t address)
{
    struct user_regs_struct changed = *registers;

    changed.rax = (unsigned long)call->number;
    changed.rdi = call->arguments[0];
    changed.rsi = call->arguments[1];
    changed.rdx = call->arguments[2];
    changed.r10 = call->arguments[3];
    changed.r8 = 0;
    changed.orig_rax = (unsigned long)-1; /* no system call that would be restarted */
    changed.rip = address;
    return changed;
}

/*
 * Waits for a thread's next stop; wait(2) will tell of it once more.
 *
 * @ret  its signal, with an event above it
 */
static int wait_for_stop(pid_t tid, int *ret)
{
    const int64_t deadline = monotonic_ns() + PATIENCE_NS;
    struct timespec pause = {.tv_nsec = FIRST_PAUSE_NS};

    for (;;) {
        siginfo_t stop = {0};

        if (waitid(P_PID, (id_t)tid, &stop, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
            return -ESRCH;
        if (stop.si_pid != 0 && stop.si_code != CLD_TRAPPED)
            return -ESRCH;
        if (stop.si_pid != 0) {
            *ret = stop.si_status;
            return 0;
        }
        if (monotonic_ns() > deadline)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < LAST_PAUSE_NS)
            pause.tv_nsec *= 2;
    }
}

static int resume(pid_t tid, enum __ptrace_request request)
{
    siginfo_t stop;

    (void)waitid(P_PID, (id_t)tid, &stop, WSTOPPED | WNOHANG | __WALL); /* it was seen */
    return ptrace(request, tid, 0, 0) < 0 ? -errno : 0;
}

static int resume_until_stop(pid_t tid, enum __ptrace_request request, int *ret_stop)
{
    int r = resume(tid, request);

    return r < 0 ? r : wait_for_stop(tid, ret_stop);
}

static bool is_interrupted(long result)
{
    return -result >= ERESTARTSYS && -result <= ERESTART_RESTARTBLOCK;
}

/* Left alone, the new process would first run its parent's handlers of signals that came to both,
 * as one of their process group. */
static void block_signals(pid_t clone)
{
    static const uint64_t all = UINT64_MAX;
    int stop;

    if (wait_for_stop(clone, &stop) == 0)
        (void)ptrace(PTRACE_SETSIGMASK, clone, sizeof(all), &all);
}

/* Lets the thread make its call. Returns 0, -EINTR where another stop came first, or -errno. */
static int run_call(pid_t tid, long *ret_result, pid_t *ret_clone)
{
    struct user_regs_struct registers = {0};
    unsigned long clone = 0;
    int stop = 0;
    int r = resume_until_stop(tid, PTRACE_SYSCALL, &stop);

    if (r == 0 && stop != SYSCALL_STOP)
        return -EINTR;
    if (r == 0)
        r = resume_until_stop(tid, PTRACE_SYSCALL, &stop);
    if (r == 0 && stop >> 8 == PTRACE_EVENT_CLONE) {
        (void)ptrace(PTRACE_GETEVENTMSG, tid, 0, &clone);
        block_signals((pid_t)clone);
        r = resume_until_stop(tid, PTRACE_SYSCALL, &stop);
    }
    if (ret_clone)
        *ret_clone = (pid_t)clone;
    if (r == 0)
        r = get_registers(tid, &registers);
    if (r == 0)
        *ret_result = (long)registers.rax;
    return r;
}

/* Makes the thread stop where the kernel, with the old registers, does what it would have done. */
static int stop_before_user_code(pid_t tid)
{
    int stop;

    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
        return -errno;
    return resume_until_stop(tid, PTRACE_CONT, &stop);
}

int injected_call_make(const struct call_site *site, pid_t tid, const struct injected_call *call,
                       long *ret_result, pid_t *ret_clone)
{
    struct user_regs_struct registers = {0}, changed;
    struct saved_registers saved;
    struct stub stub = {0};
    int r, put_back;

    if (ret_clone)
        *ret_clone = 0;
    r = get_registers(tid, &registers);
    if (r < 0)
        return r;
    saved = go_on_from(&registers);
    memcpy(stub.bytes, injected_stub, code_size());
    memcpy(stub.bytes + code_size(), &saved, sizeof(saved));
    changed = with_call(&registers, call,
                        site->address + (ret_clone ? 0 : offset_of(injected_stub_of_call)));
    r = write_stub(tid, site->address, &stub);
    if (r == 0 &&
        ptrace(PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE) < 0)
        r = -errno;
    if (r == 0)
        r = set_registers(tid, &changed);
    if (r < 0)
        return r;
    r = run_call(tid, ret_result, ret_clone);
    if (r == -ETIMEDOUT || r == -ESRCH)
        return r;
    put_back = r == -EINTR ? 0 : stop_before_user_code(tid);
    if (put_back == 0)
        put_back = set_registers(tid, &registers);
    if (put_back == 0)
        put_back = erase_stub(tid, site->address);
    if (put_back == 0)
        (void)ptrace(PTRACE_SETOPTIONS, tid, 0, 0);
    if (r == 0 && is_interrupted(*ret_result))
        r = -EINTR;
    return put_back < 0 ? put_back : r;
}

int injected_call_make_in_clone(const struct call_site *site, pid_t clone,
                                const struct injected_call *call, long *ret_result)
{
    const uint64_t entry = site->address + offset_of(injected_stub_of_clone);
    struct user_regs_struct registers = {0};
    int stop = 0, calls = 0;
    int r = wait_for_stop(clone, &stop);

    if (r == 0)
        r = get_registers(clone, &registers);
    if (r == 0) {
        registers = with_call(&registers, call, entry);
        r = set_registers(clone, &registers);
    }
    /* Begin and end of the call. Signals to it are nobody's. */
    while (r == 0 && calls < 2) {
        r = resume_until_stop(clone, PTRACE_SYSCALL, &stop);
        calls += r == 0 && stop == SYSCALL_STOP;
    }
    if (r == 0)
        r = get_registers(clone, &registers);
    if (r == 0)
        *ret_result = (long)registers.rax;
    return r;
}

#else

int call_site_find(pid_t tid, struct call_site *ret)
{
    (void)tid;
    (void)ret;
    return -ENOTSUP;
}

int injected_call_possible(const struct call_site *site, pid_t tid, bool *ret_sleeps)
{
    (void)site;
    (void)tid;
    (void)ret_sleeps;
    return -ENOTSUP;
}

int injected_call_make(const struct call_site *site, pid_t tid, const struct injected_call *call,
                       long *ret_result, pid_t *ret_clone)
{
    (void)site;
    (void)tid;
    (void)call;
    (void)ret_result;
    (void)ret_clone;
    return -ENOTSUP;
}

int injected_call_make_in_clone(const struct call_site *site, pid_t clone,
                                const struct injected_call *call, long *ret_result)
{
    (void)site;
    (void)clone;
    (void)call;
    (void)ret_result;
    return -ENOTSUP;
}

#endif
