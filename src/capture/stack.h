#pragma once

/* Call stacks by libdw (elfutils), without a debugger. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "capture/core_info.h"

struct stack_frame {
    uint64_t pc;
    bool is_activation; /* the pc is exact: a thread's top frame, or one a signal interrupted */
    bool is_inlined;    /* shares its pc with the frame that called it */
    bool is_trampoline; /* what the kernel makes a signal handler return to: no call of the program;
                           its function is "<signal handler called>" */
    char *function;     /* NULL where no symbol covers the pc */
    uint64_t function_offset;
    char *file; /* source file, NULL without debug information */
    int line;
    char *module;           /* path of the mapped file, NULL where none covers the pc */
    uint64_t module_offset; /* pc as an address within that file: what addr2line takes */
    char build_id[2 * BUILD_ID_MAX + 1];
};

struct stack_thread {
    pid_t tid;
    struct stack_frame *frames; /* innermost first */
    size_t n_frames;
    bool cut;           /* at the limit of frames */
    char *unwind_error; /* why the stack ends before its bottom, or NULL */
};

struct stack {
    struct stack_thread *threads; /* the crashing one first */
    size_t n_threads;
};

/* Most frames of one thread: a stack overflow has hundreds of thousands. */
#define STACK_MAX_FRAMES 256

/*
 * Unwinds every thread of a process, dead or stopped.
 *
 * A mapped file is used only if its build-id is still the one that was mapped; one that is gone or
 * was replaced is read from the memory, as far as that is there. Nothing is downloaded: the
 * environment variable DEBUGINFOD_URLS is removed.
 *
 * Meant to run in a process of its own: a damaged core may take libdw's time or its life.
 *
 * @memory_fd  what info->memory lies in: the core, or /proc/PID/mem
 * @exe_path   the executable (may be /proc/self/fd/N), or NULL
 * @first      called once as soon as the crashing thread's stack is known, before the others; may
 * be NULL. Of debug information it has what is at hand: not what lies in a file of its own, or is
 * compressed, for that takes libdw a multiple of the time. The stack that is returned has it all.
 * @ret        to be freed with stack_free()
 *
 * Returns 0, -ENOEXEC (libdw can't make sense of the process, its words are logged), -ENOMEM or
 * -errno.
 */
int stack_unwind(int memory_fd, const char *exe_path, const struct core_info *info,
                 void (*first)(const struct stack_thread *thread, void *context), void *context,
                 struct stack **ret);

/*
 * Prints one thread as text, a frame a line:
 *
 *     Thread 12 "flb-pipeline":
 *     #0  0x00007f2ad1a3c1a3 in strlen+0x13 (libc.so.6+0x9a1a3)
 *     #1  0x000055d0c1e2c2c2 in cb_flush at /src/plugins/out_x/x.c:120 (fluent-bit+0x1e2c2)
 *     #2  <signal handler called>
 *
 * Control characters in names are shown as '?': the text goes to terminals.
 */
void stack_print_thread(FILE *out, const struct stack_thread *thread, const struct core_info *info);

/*
 * Prints the build-id of each module that a thread's frames are in, a module a line:
 *
 *     fluent-bit: build-id 3b1d7f0a5c2e4d6f8091a2b3c4d5e6f708192a3b
 */
void stack_print_build_ids(FILE *out, const struct stack_thread *thread);

void stack_free(struct stack *stack);

static inline void cleanup_stack(struct stack **stack)
{
    stack_free(*stack);
}
#define _cleanup_stack_ __attribute__((cleanup(cleanup_stack)))
