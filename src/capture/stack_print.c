#include <inttypes.h>
#include <string.h>

#include "capture/stack.h"

static void print_name(FILE *out, const char *name)
{
    for (; *name; name++)
        fputc((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name, out);
}

/* The last part of its path. */
static void print_module(FILE *out, const char *module)
{
    const char *slash = strrchr(module, '/');

    print_name(out, slash ? slash + 1 : module);
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
        fputs(" (", out);
        print_module(out, frame->module);
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

static bool is_module_of_earlier(const struct stack_thread *thread, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (thread->frames[i].module &&
            strcmp(thread->frames[i].module, thread->frames[index].module) == 0)
            return true;
    return false;
}

void stack_print_build_ids(FILE *out, const struct stack_thread *thread)
{
    for (size_t i = 0; i < thread->n_frames; i++) {
        const struct stack_frame *frame = &thread->frames[i];

        if (!frame->module || !frame->build_id[0] || is_module_of_earlier(thread, i))
            continue;
        print_module(out, frame->module);
        fprintf(out, ": build-id %s\n", frame->build_id);
    }
}
