#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>
#include <unistd.h>

#include "capture/live_registers.h"
#include "capture/live_selection.h"
#include "capture/live_tables.h"
#include "capture/loader_list.h"
#include "util/cleanup.h"

/* Of one thread's stack: what is always there, and at most. The crashing one may have overflowed:
 * 8 MiB is what a process begins with. */
#define STACK_LEAST (64u << 10)
#define STACK_MOST (1u << 20)
#define STACK_MOST_CRASHED (8u << 20)

/* Of one file's data, before the stacks of other threads are: the loader's and libc's is small. */
#define DATA_LEAST (256u << 10)

/* What lies behind a pointer: a structure, or text of some length. */
#define POINTED_BYTES 512

/* Around a thread pointer: variables below it (or above, on other machines), struct pthread. */
#define THREAD_BLOCK_BELOW 4096
#define THREAD_BLOCK_ABOVE 4096
#define THREAD_BLOCK_HEAD 64

/* glibc's struct link_map goes on behind what <link.h> tells. */
#define LINK_BYTES 2048
#define DYNAMIC_BYTES (LOADER_LIST_TAGS * sizeof(ElfW(Dyn)))

/* An alternate stack that is larger is none. */
#define SIGNAL_STACK_MOST (64u << 20)

struct choice {
    struct live_process *process;
    struct live_selection selection;
};

static bool read_at(const struct choice *choice, uint64_t address, void *ret, size_t size)
{
    const struct live_process *process = choice->process;

    return core_memory_read(&process->info->memory, process->mem_fd, address, ret, size) == 0;
}

/*
 * The part of a stack that is in use: from the stack pointer on. After an overflow the pointer is
 * in the guard page or in nothing, below the stack.
 */
static struct live_range find_stack(const struct choice *choice, uint64_t stack_pointer,
                                    uint64_t most)
{
    const struct live_mappings *mappings = &choice->process->tables->mappings;
    const struct live_mapping *end = mappings->entries + mappings->count;
    const struct live_mapping *mapping = live_mappings_from(mappings, stack_pointer);
    struct live_range stack;

    while (mapping && mapping < end && !(mapping->protection & PF_W))
        mapping++;
    if (!mapping || mapping == end ||
        (mapping->start > stack_pointer && mapping->start - stack_pointer > STACK_MOST))
        return (struct live_range){0};
    stack.start = mapping->start;
    if (stack_pointer > mapping->start + LIVE_RED_ZONE)
        stack.start = stack_pointer - LIVE_RED_ZONE;
    stack.start -= stack.start % live_page_size();
    stack.end = mapping->end - stack.start < most ? mapping->end : stack.start + most;
    return stack;
}

static struct live_range take_stack(struct choice *choice, uint64_t stack_pointer, uint64_t most)
{
    struct live_range stack = find_stack(choice, stack_pointer, most);

    live_selection_take(&choice->selection, stack.start, stack.end);
    return stack;
}

/*
 * Where a signal handler runs on an alternate stack, the kernel has left a ucontext_t there that
 * names this stack (sigaltstack(2)) and has the pointer of the interrupted one.
 */
static void take_interrupted(struct choice *choice, uint64_t at, uint64_t stack_pointer)
{
    ucontext_t context;
    uint64_t bottom;

    if (!read_at(choice, at, &context, sizeof(context)))
        return;
    bottom = (uint64_t)(uintptr_t)context.uc_stack.ss_sp;
    if (bottom == 0 || bottom > stack_pointer || context.uc_stack.ss_size > SIGNAL_STACK_MOST ||
        stack_pointer - bottom >= context.uc_stack.ss_size)
        return;
    take_stack(choice, live_interrupted_stack_pointer(&context), STACK_MOST);
}

/* Takes what a pointer points at: data that differs from any file's. */
static void take_pointed(struct choice *choice, uint64_t pointer)
{
    const struct live_mapping *mapping =
        live_mappings_from(&choice->process->tables->mappings, pointer);

    if (!mapping || pointer < mapping->start || (mapping->protection & PF_X))
        return;
    if (mapping->anonymous > 0 || mapping->is_shared || mapping->is_huge)
        live_selection_take(&choice->selection, pointer, pointer + POINTED_BYTES);
}

/*
 * Takes what the words of pages that are taken point at.
 *
 * @stack_pointer  of the thread whose stack they are, or 0
 */
static void take_behind_pages(struct choice *choice, struct live_range range,
                              uint64_t stack_pointer)
{
    const uint64_t page_size = live_page_size();
    uint64_t words[512];

    for (uint64_t at = range.start; at < range.end; at += sizeof(words)) {
        if (!live_selection_has(&choice->selection, at - at % page_size) ||
            !read_at(choice, at, words, sizeof(words)))
            continue;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            take_pointed(choice, words[i]);
            if (words[i] != 0 && words[i] <= stack_pointer &&
                stack_pointer - words[i] < SIGNAL_STACK_MOST)
                take_interrupted(choice,
                                 at + i * sizeof(words[0]) - offsetof(ucontext_t, uc_stack.ss_sp),
                                 stack_pointer);
        }
    }
}

/* Takes the thread's own variables, and the table by which a debugger finds those of libraries:
 * tcbhead_t of glibc. */
static void take_thread_block(struct choice *choice, const struct core_thread *thread)
{
    const uint64_t at = live_thread_pointer(thread->registers);
    uint64_t words[THREAD_BLOCK_HEAD / sizeof(uint64_t)];

    if (at == 0)
        return;
    live_selection_take(&choice->selection, at - THREAD_BLOCK_BELOW, at + THREAD_BLOCK_ABOVE);
    if (!read_at(choice, at, words, sizeof(words)))
        return;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        take_pointed(choice, words[i]);
}

/* Takes what a thread's registers and stack point at. */
static void take_behind(struct choice *choice, const struct core_thread *thread,
                        struct live_range stack)
{
    const uint64_t stack_pointer = live_stack_pointer(thread->registers);

    take_thread_block(choice, thread);
    for (size_t i = 0; i < sizeof(thread->registers) / sizeof(thread->registers[0]); i++)
        take_pointed(choice, thread->registers[i]);
    take_behind_pages(choice, stack, stack_pointer);
}

/* The pages that tell which file was mapped, and the kernel's code. */
static void take_headers(struct choice *choice)
{
    const struct live_mappings *mappings = &choice->process->tables->mappings;

    for (size_t i = 0; i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];

        if (mapping->kind == LIVE_KERNEL && (mapping->protection & PF_X))
            live_selection_take(&choice->selection, mapping->start, mapping->end);
        else if (mapping->kind == LIVE_FILE && mapping->offset == 0 && !mapping->is_shared)
            live_selection_take(&choice->selection, mapping->start, mapping->start + 1);
    }
}

/* Takes the data of the loader, and what that points at: where each file's thread variables are. */
static void take_loader_data(struct choice *choice, uint64_t debug)
{
    const struct live_mappings *mappings = &choice->process->tables->mappings;
    const struct live_mapping *loader = live_mappings_from(mappings, debug);

    for (size_t i = 0; i < mappings->count && loader && loader->kind == LIVE_FILE; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];
        const struct live_range data = {mapping->start, mapping->end};

        if (mapping->kind != LIVE_FILE || mapping->path != loader->path ||
            mapping->anonymous == 0 || data.end - data.start > DATA_LEAST)
            continue;
        live_selection_take(&choice->selection, data.start, data.end);
        take_behind_pages(choice, data, 0);
    }
}

/* Takes the list of loaded files as a debugger walks it. */
static void take_loader(struct choice *choice)
{
    struct loader_list list;
    struct link_map link;
    uint64_t at;

    if (loader_list_begin(choice->process->info, choice->process->mem_fd, &list) < 0)
        return;
    live_selection_take(&choice->selection, list.dynamic, list.dynamic + DYNAMIC_BYTES);
    live_selection_take(&choice->selection, list.debug, list.debug + sizeof(struct r_debug));
    take_loader_data(choice, list.debug);
    while (loader_list_next(&list, &at, &link) > 0) {
        const uint64_t name = (uint64_t)(uintptr_t)link.l_name;
        const uint64_t its_dynamic = (uint64_t)(uintptr_t)link.l_ld;

        live_selection_take(&choice->selection, at, at + LINK_BYTES);
        live_selection_take(&choice->selection, name, name + POINTED_BYTES);
        live_selection_take(&choice->selection, its_dynamic, its_dynamic + DYNAMIC_BYTES);
    }
}

/* Takes data of files that the process has changed (.data, the linkage tables), and the .bss that
 * adjoins it. */
static void take_data(struct choice *choice, uint64_t most)
{
    const struct live_mappings *mappings = &choice->process->tables->mappings;
    uint64_t data_end = 0;

    for (size_t i = 0; i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];
        const bool is_data =
            mapping->kind == LIVE_FILE && !mapping->is_shared && mapping->anonymous > 0;
        const bool is_bss = mapping->kind == LIVE_ANONYMOUS && mapping->start == data_end;

        data_end = is_data ? mapping->end : 0;
        if (is_data || is_bss)
            live_selection_take(&choice->selection, mapping->start,
                                mapping->end - mapping->start < most ? mapping->end
                                                                     : mapping->start + most);
    }
}

/* Takes the crashing thread's stack, or half of all that may be taken. */
static struct live_range take_crashed(struct choice *choice, const struct core_thread *thread)
{
    const uint64_t half = (uint64_t)choice->selection.most / 2 * live_page_size();

    return take_stack(choice, live_stack_pointer(thread->registers),
                      half < STACK_MOST_CRASHED ? half : STACK_MOST_CRASHED);
}

static void choose(struct choice *choice)
{
    const struct core_info *info = choice->process->info;
    struct live_range stack = {0};

    if (info->n_threads > 0)
        stack = take_crashed(choice, &info->threads[0]);
    take_headers(choice);
    take_loader(choice);
    take_data(choice, DATA_LEAST);
    for (size_t i = 1; i < info->n_threads; i++)
        take_stack(choice, live_stack_pointer(info->threads[i].registers), STACK_LEAST);
    if (stack.end - stack.start > STACK_MOST)
        stack.end = stack.start + STACK_MOST;
    for (size_t i = 0; i < info->n_threads; i++) {
        const struct core_thread *thread = &info->threads[i];

        if (i > 0)
            stack = find_stack(choice, live_stack_pointer(thread->registers), STACK_LEAST);
        take_behind(choice, thread, stack);
    }
    for (size_t i = 1; i < info->n_threads; i++)
        take_stack(choice, live_stack_pointer(info->threads[i].registers), STACK_MOST);
    take_data(choice, UINT64_MAX);
}

static int write_core(struct live_process *process, const struct live_layout *layout, int out_fd)
{
    _cleanup_core_source_ struct core_source *source = NULL;
    struct core_run run;
    uint64_t at = 0;
    int r;

    if (ftruncate(out_fd, 0) < 0 || ftruncate(out_fd, (off_t)layout->size) < 0)
        return -errno;
    r = live_source_open(process, layout, &source);
    while (r >= 0 && (r = source->next(source, &run)) > 0) {
        for (uint64_t done = 0; run.data && done < run.size;) {
            ssize_t n = pwrite(out_fd, (const char *)run.data + done, (size_t)(run.size - done),
                               (off_t)(at + done));

            if (n <= 0)
                return n < 0 ? -errno : -EIO;
            done += (uint64_t)n;
        }
        at += run.size;
    }
    return r;
}

static void cleanup_choice(struct choice *choice)
{
    live_selection_free(&choice->selection);
}

static void cleanup_layout(struct live_layout *layout)
{
    live_layout_free(layout);
}

int live_core_write_small(struct live_process *process, uint64_t limit, int out_fd)
{
    const struct live_tables *tables = process->tables;
    const uint64_t unreadable = process->unreadable; /* of another source */
    _cleanup_(cleanup_layout) struct live_layout layout = {0};
    _cleanup_(cleanup_choice) struct choice choice = {.process = process};
    int r = live_tables_lay_out(process);
    uint64_t fixed;

    if (r < 0)
        return r;
    fixed = sizeof(Elf64_Ehdr) + (tables->mappings.count + 1) * sizeof(Elf64_Phdr) +
            tables->notes_size + live_page_size() + sizeof(Elf64_Shdr);
    if (limit < fixed)
        return -EFBIG;
    /* Each page may take a program header of its own. */
    r = live_selection_begin(&choice.selection, tables,
                             (size_t)((limit - fixed) / (live_page_size() + sizeof(Elf64_Phdr))));
    if (r < 0)
        return r;
    choose(&choice);
    r = live_selection_layout(&choice.selection, &layout);
    if (r == 0)
        r = write_core(process, &layout, out_fd);
    process->unreadable = unreadable;
    return r;
}
