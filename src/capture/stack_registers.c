#include "capture/stack_registers.h"

#if defined(__x86_64__)

#include <sys/reg.h>

uint64_t registers_pc(const elf_gregset_t registers)
{
    return registers[RIP];
}

/* call pushes the return address, and nothing has moved the stack pointer since. */
bool registers_undo_call(elf_gregset_t registers,
                         bool (*stack_word)(uint64_t address, uint64_t *ret, void *context),
                         void *context)
{
    uint64_t return_address;

    if (!stack_word(registers[RSP], &return_address, context))
        return false;
    registers[RIP] = return_address;
    registers[RSP] += sizeof(return_address);
    return true;
}

/* System V ABI, AMD64 supplement, "DWARF Register Number Mapping". */
bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers)
{
    static const int by_dwarf_number[] = {RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8,
                                          R9,  R10, R11, R12, R13, R14, R15, RIP};
    Dwarf_Word words[sizeof(by_dwarf_number) / sizeof(by_dwarf_number[0])];
    const unsigned count = sizeof(words) / sizeof(words[0]);

    for (unsigned i = 0; i < count; i++)
        words[i] = registers[by_dwarf_number[i]];
    return dwfl_thread_state_registers(thread, 0, count, words);
}

#elif defined(__aarch64__)

/* struct user_pt_regs: x0 to x30, the stack pointer, the program counter, the flags. */
#define LINK_REGISTER 30
#define GENERAL_REGISTERS 32
#define PROGRAM_COUNTER 32

uint64_t registers_pc(const elf_gregset_t registers)
{
    return registers[PROGRAM_COUNTER];
}

/* bl leaves the return address in x30; the stack isn't used. */
bool registers_undo_call(elf_gregset_t registers,
                         bool (*stack_word)(uint64_t address, uint64_t *ret, void *context),
                         void *context)
{
    (void)stack_word;
    (void)context;
    registers[PROGRAM_COUNTER] = registers[LINK_REGISTER];
    return true;
}

/* DWARF for the ARM 64-bit Architecture: x0 to x30 are 0 to 30, the stack pointer is 31. */
bool registers_set(Dwfl_Thread *thread, const elf_gregset_t registers)
{
    Dwarf_Word words[GENERAL_REGISTERS];

    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        words[i] = registers[i];
    dwfl_thread_state_register_pc(thread, registers[PROGRAM_COUNTER]);
    return dwfl_thread_state_registers(thread, 0, GENERAL_REGISTERS, words);
}

#endif
