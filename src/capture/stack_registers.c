#include "capture/stack_registers.h"

#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__x86_64__)

#include <sys/reg.h>

/* System V ABI, AMD64 supplement, "DWARF Register Number Mapping"; and each one's place in
 * NT_PRSTATUS and in ucontext_t. */
static const struct {
    int in_status, in_context;
} by_dwarf_number[] = {
    {RAX, REG_RAX}, {RDX, REG_RDX}, {RCX, REG_RCX}, {RBX, REG_RBX}, {RSI, REG_RSI}, {RDI, REG_RDI},
    {RBP, REG_RBP}, {RSP, REG_RSP}, {R8, REG_R8},   {R9, REG_R9},   {R10, REG_R10}, {R11, REG_R11},
    {R12, REG_R12}, {R13, REG_R13}, {R14, REG_R14}, {R15, REG_R15}, {RIP, REG_RIP},
};

#define NATIVE_MACHINE EM_X86_64

#define DWARF_STACK_POINTER 7

uint64_t registers_pc(const elf_gregset_t registers)
{
    return registers[RIP];
}

/* call pushes the return address, and nothing has moved the stack pointer since. */
bool registers_undo_call(elf_gregset_t registers, word_reader read_word, void *context)
{
    uint64_t return_address;

    if (!read_word(registers[RSP], &return_address, context))
        return false;
    registers[RIP] = return_address;
    registers[RSP] += sizeof(return_address);
    return true;
}

/* The handler's return has popped pretcode; the ucontext is what the stack pointer points at. */
bool registers_of_interrupted(Dwfl_Frame *state, word_reader read_word, void *context,
                              elf_gregset_t ret)
{
    Dwarf_Word stack_pointer;
    uint64_t saved, word;

    if (dwfl_frame_reg(state, DWARF_STACK_POINTER, &stack_pointer) != 0)
        return false;
    saved = stack_pointer + offsetof(ucontext_t, uc_mcontext.gregs);
    for (size_t i = 0; i < COUNT(by_dwarf_number); i++) {
        if (!read_word(saved + (uint64_t)by_dwarf_number[i].in_context * 8, &word, context))
            return false;
        ret[by_dwarf_number[i].in_status] = word;
    }
    return true;
}

bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers)
{
    Dwarf_Word words[COUNT(by_dwarf_number)];

    for (size_t i = 0; i < COUNT(words); i++)
        words[i] = registers[by_dwarf_number[i].in_status];
    return dwfl_thread_state_registers(thread, 0, COUNT(words), words);
}

#elif defined(__aarch64__)

/*
 * struct user_pt_regs: x0 to x30, the stack pointer, the program counter. mcontext_t has them in
 * the same order, and DWARF for the ARM 64-bit Architecture numbers the first 32 so.
 */
#define NATIVE_MACHINE EM_AARCH64

#define LINK_REGISTER 30
#define STACK_POINTER 31
#define PROGRAM_COUNTER 32

uint64_t registers_pc(const elf_gregset_t registers)
{
    return registers[PROGRAM_COUNTER];
}

/* bl leaves the return address in x30; the stack isn't used. */
bool registers_undo_call(elf_gregset_t registers, word_reader read_word, void *context)
{
    (void)read_word;
    (void)context;
    registers[PROGRAM_COUNTER] = registers[LINK_REGISTER];
    return true;
}

/* The stack pointer points at a siginfo_t, which the ucontext follows. */
bool registers_of_interrupted(Dwfl_Frame *state, word_reader read_word, void *context,
                              elf_gregset_t ret)
{
    Dwarf_Word stack_pointer;
    uint64_t saved, word;

    if (dwfl_frame_reg(state, STACK_POINTER, &stack_pointer) != 0)
        return false;
    saved = stack_pointer + sizeof(siginfo_t) + offsetof(ucontext_t, uc_mcontext.regs);
    for (unsigned i = 0; i <= PROGRAM_COUNTER; i++) {
        if (!read_word(saved + i * 8, &word, context))
            return false;
        ret[i] = word;
    }
    return true;
}

bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers)
{
    Dwarf_Word words[PROGRAM_COUNTER];

    for (unsigned i = 0; i < PROGRAM_COUNTER; i++)
        words[i] = registers[i];
    dwfl_thread_state_register_pc(thread, registers[PROGRAM_COUNTER]);
    return dwfl_thread_state_registers(thread, 0, PROGRAM_COUNTER, words);
}

#endif

Elf64_Ehdr registers_elf_header(void)
{
    return (Elf64_Ehdr){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                    __BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = NATIVE_MACHINE,
        .e_version = EV_CURRENT,
        .e_ehsize = sizeof(Elf64_Ehdr),
    };
}
