#pragma once

/* What a machine's register sets tell besides the call stack. */

#include <stddef.h>
#include <stdint.h>
#include <sys/procfs.h>
#include <ucontext.h>

/* Bytes below the stack pointer that a function without calls may use (System V ABI, AMD64). */
#define LIVE_RED_ZONE 128

uint64_t live_stack_pointer(const elf_gregset_t registers);

/* Where the thread's own variables are kept, 0 where its general registers don't tell. */
uint64_t live_thread_pointer(const elf_gregset_t registers);

/* The stack pointer that a signal handler will return to. */
uint64_t live_interrupted_stack_pointer(const ucontext_t *context);

/*
 * Where the NT_X86_XSTATE of this processor has what: the content of NT_X86_XSAVE_LAYOUT, which
 * Linux writes since 6.12.
 *
 * @xstate  a thread's NT_X86_XSTATE
 * @ret     with room for 64 records of 16 bytes
 *
 * Returns its size, 0 where there is none on this machine.
 */
size_t live_xsave_layout(const void *xstate, size_t size, void *ret);
