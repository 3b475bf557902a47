#include <inttypes.h>
#include <string.h>

#include "capture/stack.h"

static void print_name(FILE *out, const char *name)
{
    for (; *name; name++)
        fputc((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name, out);
}

static void print_place(FILE *out, const struct stack_frame *frame)
{
    fputs(" in ", out);
    print_name(out, frame->function ? frame->function : "??");
    if (frame->file) {
        fputs(" at ", out);
        print_name(out, frame->file);
        fprintf(out, ":%d", frame->line);
    } else if (frame->function && !frame->is_inlined) {
        fprintf(out, "+0x%" PRIx64, frame->function_offset);
    }
    if (frame->is_inlined)
        fputs(" (inlined)", out);
    if (frame->module) {
        const char *slash = strrchr(frame->module, '/');

        fputs(" (", out);
        print_name(out, slash ? slash + 1 : frame->module);
        fprintf(out, "+0x%" PRIx64 ")", frame->module_offset);
    }
}

static const char *thread_name(const struct core_info *info, pid_t tid)
{
    for (size_t i = 0; i < info->n_threads; i++)
        if (info->threads[i].tid == tid)
            return info->threads[i].name;
    return "";
}

void stack_print_thread(FILE *out, const struct stack_thread *thread, const struct core_info *info)
{
    const char *name = thread_name(info, thread->tid);

    fprintf(out, "Thread %d", thread->tid);
    if (name[0]) {
        fputs(" \"", out);
        print_name(out, name);
        fputc('"', out);
    }
    fputs(":\n", out);
    for (size_t i = 0; i < thread->n_frames; i++) {
        const struct stack_frame *frame = &thread->frames[i];

        fprintf(out, "#%-2zu ", i);
        if (frame->is_trampoline) {
            fputs(frame->function, out);
        } else {
            fprintf(out, "0x%016" PRIx64, frame->pc);
            print_place(out, frame);
        }
        fputc('\n', out);
    }
    if (thread->cut)
        fprintf(out, "(the stack goes on: only its first %zu frames are shown)\n",
                thread->n_frames);
    if (thread->unwind_error)
        fprintf(out, "(the stack goes on, but cannot be followed: %s)\n", thread->unwind_error);
}
