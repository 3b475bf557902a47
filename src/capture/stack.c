#include "capture/stack.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <elfutils/libdwfl.h>

#include "capture/stack_modules.h"
#include "capture/stack_registers.h"
#include "util/cleanup.h"
#include "util/log.h"

/* The context of libdw's callbacks. */
struct unwinder {
    Dwfl *dwfl;
    int memory_fd;
    const struct core_info *info;

    struct stack_thread *thread; /* being unwound */
    elf_gregset_t registers;     /* of that thread */
    bool is_quick;               /* debug information that isn't at hand is passed by */
    bool is_passed_by;           /* there was some */
    bool begins_with_caller;     /* what it called is told already */
    bool begins_again;           /* with other registers */
    bool lacks_memory;           /* the latest frame's caller couldn't be read */
    int error;                   /* -ENOMEM */
};

static void end_dwfl(Dwfl **dwfl)
{
    dwfl_end(*dwfl);
}

static void end_elf(Elf **elf)
{
    elf_end(*elf);
}

/* Appends a frame. Returns NULL, with the unwinder told why, where there is no room. */
static struct stack_frame *new_frame(struct unwinder *unwinder)
{
    struct stack_thread *thread = unwinder->thread;
    struct stack_frame *frame;

    if (thread->n_frames == STACK_MAX_FRAMES) {
        thread->cut = true;
        return NULL;
    }
    if (!thread->frames) /* once, so that frames stay where they are while one is being told */
        thread->frames = calloc(STACK_MAX_FRAMES, sizeof(*frame));
    if (!thread->frames) {
        unwinder->error = -ENOMEM;
        return NULL;
    }
    return &thread->frames[thread->n_frames++];
}

static char *copy_text(struct unwinder *unwinder, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        unwinder->error = -ENOMEM;
    return copy;
}

/* The module that a mapping belongs to; a module is known by its path. */
static const struct core_module *module_of(const struct core_info *info,
                                           const struct core_mapping *mapping)
{
    for (size_t i = 0; mapping && i < info->n_modules; i++)
        if (strcmp(info->modules[i].path, mapping->path) == 0)
            return &info->modules[i];
    return NULL;
}

/* Where the pc lies, from the core's own list: true whether or not libdw could use the file. */
static void locate(struct unwinder *unwinder, uint64_t address, struct stack_frame *frame)
{
    const struct core_mapping *mapping = core_info_find_mapping(unwinder->info, address);
    const struct core_module *module = module_of(unwinder->info, mapping);

    if (!mapping)
        return;
    frame->module = copy_text(unwinder, mapping->path);
    frame->module_offset = frame->pc - mapping->start + mapping->offset;
    if (!module)
        return;
    frame->module_offset = frame->pc - module->bias;
    memcpy(frame->build_id, module->build_id, sizeof(frame->build_id));
}

static bool is_inlined(Dwarf_Die *die)
{
    return dwarf_tag(die) == DW_TAG_inlined_subroutine;
}

static const char *function_name(Dwarf_Die *die)
{
    Dwarf_Attribute attribute;

    return dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attribute));
}

/* Where the call was that the compiler inlined. */
static void call_site(struct unwinder *unwinder, Dwarf_Die *unit, Dwarf_Die *inlined,
                      struct stack_frame *frame)
{
    Dwarf_Word file, line;
    Dwarf_Attribute attribute;
    Dwarf_Files *files;
    size_t n_files;

    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) != 0 ||
        dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) != 0 ||
        dwarf_getsrcfiles(unit, &files, &n_files) != 0 || file >= n_files)
        return;
    frame->file = copy_text(unwinder, dwarf_filesrc(files, file, NULL, NULL));
    frame->line = (int)line;
}

/* The compilation unit of an address: from .debug_aranges, or the slow way, as clang writes none.
 */
static Dwarf_Die *find_unit(Dwfl_Module *module, Dwarf_Addr address, Dwarf_Addr *ret_bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, address, ret_bias);

    if (unit) /* libdwfl stretches a unit over the gap to the next one */
        return dwarf_haspc(unit, address - *ret_bias) > 0 ? unit : NULL;
    while ((unit = dwfl_module_nextcu(module, unit, ret_bias)))
        if (dwarf_haspc(unit, address - *ret_bias) > 0)
            return unit;
    return NULL;
}

/*
 * Whether a file has debug information that can be used as it lies there: libdw unpacks all of it
 * before it answers the first question.
 */
static bool has_debug_info_at_hand(Dwfl_Module *module)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(module, &bias);
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    size_t names;

    if (!elf || elf_getshdrstrndx(elf, &names) < 0)
        return false;
    while ((section = elf_nextscn(elf, section))) {
        const char *name =
            gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;

        if (name && strcmp(name, ".debug_info") == 0)
            return !(header.sh_flags & SHF_COMPRESSED);
    }
    return false;
}

static void add_source(struct unwinder *unwinder, Dwarf_Die *unit, Dwarf_Addr address,
                       struct stack_frame *frame)
{
    Dwarf_Line *line = dwarf_getsrc_die(unit, address);

    if (!line)
        return;
    frame->file = copy_text(unwinder, dwarf_linesrc(line, NULL, NULL));
    (void)dwarf_lineno(line, &frame->line);
}

/*
 * Tells the functions that were inlined at an address: each becomes a frame before the real one,
 * which is the last frame afterwards.
 */
static void add_inlined(struct unwinder *unwinder, Dwarf_Die *unit, Dwarf_Addr address)
{
    const struct stack_thread *thread = unwinder->thread;
    _cleanup_free_ Dwarf_Die *innermost = NULL;
    _cleanup_free_ Dwarf_Die *scopes = NULL;
    int count;

    if (dwarf_getscopes(unit, address, &innermost) <= 0)
        return;
    /* Behind an inlined function that list goes on with where it was defined, not called. */
    count = dwarf_getscopes_die(&innermost[0], &scopes);
    for (int i = 0; i < count && dwarf_tag(&scopes[i]) != DW_TAG_subprogram; i++) {
        struct stack_frame *inner = &thread->frames[thread->n_frames - 1];
        struct stack_frame *outer;

        if (!is_inlined(&scopes[i]))
            continue;
        outer = new_frame(unwinder);
        if (!outer)
            return;
        *outer = *inner;
        outer->function = NULL;
        outer->file = NULL;
        outer->line = 0;
        outer->module = copy_text(unwinder, inner->module);
        call_site(unwinder, unit, &scopes[i], outer);
        inner->is_inlined = true;
        inner->function = copy_text(unwinder, function_name(&scopes[i]));
    }
}

static void add_frame(struct unwinder *unwinder, uint64_t pc, bool is_activation)
{
    /* A return address may belong to the next line, or to the next function. */
    const uint64_t address = is_activation ? pc : pc - 1;
    Dwfl_Module *module = dwfl_addrmodule(unwinder->dwfl, address);
    struct stack_frame *frame = new_frame(unwinder);
    GElf_Off offset;
    GElf_Sym symbol;
    Dwarf_Die *unit;
    Dwarf_Addr bias;

    if (!frame)
        return;
    frame->pc = pc;
    frame->is_activation = is_activation;
    locate(unwinder, address, frame);
    if (!module)
        return;
    if (unwinder->is_quick && !has_debug_info_at_hand(module))
        unwinder->is_passed_by = true;
    else if ((unit = find_unit(module, address, &bias))) {
        add_source(unwinder, unit, address - bias, frame);
        add_inlined(unwinder, unit, address - bias);
    }

    frame = &unwinder->thread->frames[unwinder->thread->n_frames - 1];
    frame->function = copy_text(
        unwinder, dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL));
    if (!frame->function)
        return;
    frame->function_offset = offset + (pc - address);
    frame->function[strcspn(frame->function, "@")] = '\0'; /* its version: name@@GLIBC_2.34 */
}

static void add_trampoline(struct unwinder *unwinder, uint64_t pc)
{
    struct stack_frame *frame = new_frame(unwinder);

    if (!frame)
        return;
    frame->pc = pc;
    frame->is_activation = true;
    frame->is_trampoline = true;
    locate(unwinder, pc, frame);
    frame->function = copy_text(unwinder, "<signal handler called>");
}

static bool stack_word(uint64_t address, uint64_t *ret, void *context)
{
    const struct unwinder *unwinder = context;

    return core_memory_read(&unwinder->info->memory, unwinder->memory_fd, address, ret,
                            sizeof(*ret)) == 0;
}

static bool is_code(const struct unwinder *unwinder, uint64_t address)
{
    const struct core_segment *segment = core_memory_find(&unwinder->info->memory, address);

    return segment && segment->executable;
}

/*
 * A call through a NULL or wild pointer ends where there is no code and so no unwind information;
 * its caller is found by undoing the call.
 */
static void undo_call_to_nowhere(struct unwinder *unwinder)
{
    const uint64_t pc = registers_pc(unwinder->registers);
    elf_gregset_t before;

    memcpy(&before, &unwinder->registers, sizeof(before));
    if (is_code(unwinder, pc) || !registers_undo_call(before, stack_word, unwinder) ||
        !is_code(unwinder, registers_pc(before)))
        return;
    add_frame(unwinder, pc, true);
    memcpy(&unwinder->registers, &before, sizeof(before));
    unwinder->begins_with_caller = true;
}

/*
 * Looks at what a signal interrupted. libdw takes a pc of 0 for the bottom of the stack; that, or
 * any other place without code, has to be told here, and the stack unwound from its caller on.
 */
static void see_interrupted(struct unwinder *unwinder, Dwfl_Frame *trampoline)
{
    elf_gregset_t interrupted = {0};

    if (!registers_of_interrupted(trampoline, stack_word, unwinder, interrupted) ||
        is_code(unwinder, registers_pc(interrupted)))
        return;
    memcpy(&unwinder->registers, &interrupted, sizeof(interrupted));
    unwinder->begins_again = true;
}

/* Whether a frame is what a signal handler returns to: its unwind information is marked ('S'). */
static bool is_trampoline(const struct unwinder *unwinder, Dwarf_Addr pc)
{
    Dwfl_Module *module = dwfl_addrmodule(unwinder->dwfl, pc);
    Dwarf_Addr bias;
    Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;
    _cleanup_free_ Dwarf_Frame *frame = NULL;
    bool is_signal = false;

    return cfi && dwarf_cfi_addrframe(cfi, pc - bias, &frame) == 0 &&
           dwarf_frame_info(frame, NULL, NULL, &is_signal) >= 0 && is_signal;
}

static int on_frame(Dwfl_Frame *state, void *context)
{
    struct unwinder *unwinder = context;
    const bool is_top = unwinder->thread->n_frames == 0;
    bool is_activation = false;
    Dwarf_Addr pc;

    if (!dwfl_frame_pc(state, &pc, &is_activation))
        return -1;
    /* Where there is no unwind information, libdw guesses by frame pointers; this was no frame. */
    if (pc == 0 && !is_top)
        return -1;
    if (unwinder->begins_with_caller)
        is_activation = unwinder->begins_with_caller = false;

    if (!is_top && is_trampoline(unwinder, pc)) {
        add_trampoline(unwinder, pc);
        see_interrupted(unwinder, state);
    } else {
        add_frame(unwinder, pc, is_activation);
    }
    return unwinder->error || unwinder->thread->cut || unwinder->begins_again ? DWARF_CB_ABORT
                                                                              : DWARF_CB_OK;
}

static pid_t next_thread(Dwfl *dwfl, void *context, void **thread_context)
{
    struct unwinder *unwinder = context;

    (void)dwfl;
    if (*thread_context)
        return 0;
    *thread_context = unwinder;
    return unwinder->thread->tid;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *context, void **thread_context)
{
    (void)dwfl;
    (void)tid;
    *thread_context = context;
    return true;
}

/* libdw takes what can't be read for the bottom of the stack, and says nothing. */
static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *ret, void *context)
{
    struct unwinder *unwinder = context;

    (void)dwfl;
    unwinder->lacks_memory = !stack_word(address, ret, unwinder);
    return !unwinder->lacks_memory;
}

static bool set_registers(Dwfl_Thread *thread, void *context)
{
    const struct unwinder *unwinder = context;

    return registers_set(thread, unwinder->registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
    .next_thread = next_thread,
    .get_thread = get_thread,
    .memory_read = read_memory,
    .set_initial_registers = set_registers,
};

/* What debuginfo_path of libdwfl.h is for a process of another root: libdw puts the module's
 * directory behind each. That a file it finds there belongs to the module it checks itself. */
static void name_debug_directories(int root_fd, char *ret, size_t size)
{
    snprintf(ret, size, "/proc/self/fd/%d:/proc/self/fd/%d/usr/lib/debug", root_fd, root_fd);
}

/* Stacks are a dozen frames deep, as a rule, and threads may be thousands. */
static void give_back_room(struct stack_thread *thread)
{
    struct stack_frame *smaller =
        thread->n_frames ? realloc(thread->frames, thread->n_frames * sizeof(*smaller)) : NULL;

    if (smaller)
        thread->frames = smaller;
}

static int unwind_thread(struct unwinder *unwinder, const struct core_thread *thread,
                         struct stack_thread *ret)
{
    int r;

    unwinder->thread = ret;
    memcpy(&unwinder->registers, &thread->registers, sizeof(unwinder->registers));
    ret->tid = thread->tid;
    do {
        unwinder->begins_again = unwinder->begins_with_caller = unwinder->lacks_memory = false;
        undo_call_to_nowhere(unwinder);
        r = dwfl_getthread_frames(unwinder->dwfl, thread->tid, on_frame, unwinder);
    } while (unwinder->begins_again && !unwinder->error && !ret->cut);
    if (unwinder->lacks_memory)
        ret->unwind_error = copy_text(unwinder, "its memory cannot be read");
    else if (r != 0 && !unwinder->error && !ret->cut)
        ret->unwind_error = copy_text(unwinder, dwfl_errmsg(-1));
    /* Not even the first frame: its address is known all the same. */
    if (ret->n_frames == 0 && !unwinder->error)
        add_frame(unwinder, registers_pc(unwinder->registers), true);
    give_back_room(ret);
    return unwinder->error;
}

static void free_frames(struct stack_thread *thread)
{
    for (size_t i = 0; i < thread->n_frames; i++) {
        free(thread->frames[i].function);
        free(thread->frames[i].file);
        free(thread->frames[i].module);
    }
    free(thread->frames);
    free(thread->unwind_error);
}

/* Tells the crashing thread's stack as soon as that can be, and then unwinds it for good. */
static int unwind_first_thread(struct unwinder *unwinder, const struct core_thread *thread,
                               void (*first)(const struct stack_thread *thread, void *context),
                               void *context, struct stack_thread *ret)
{
    int r;

    unwinder->is_quick = true;
    r = unwind_thread(unwinder, thread, ret);
    if (r < 0)
        return r;
    first(ret, context);
    unwinder->is_quick = false;
    if (!unwinder->is_passed_by)
        return 0;
    free_frames(ret);
    *ret = (struct stack_thread){0};
    return unwind_thread(unwinder, thread, ret);
}

static struct stack *new_stack(size_t n_threads)
{
    struct stack *stack = calloc(1, sizeof(*stack));

    if (!stack)
        return NULL;
    stack->threads = calloc(n_threads + 1, sizeof(stack->threads[0]));
    if (stack->threads)
        return stack;
    free(stack);
    return NULL;
}

int stack_unwind(int memory_fd, const char *exe_path, const struct core_info *info,
                 void (*first)(const struct stack_thread *thread, void *context), void *context,
                 struct stack **ret)
{
    Elf64_Ehdr header = registers_elf_header();
    __attribute__((cleanup(end_elf))) Elf *elf = NULL;
    __attribute__((cleanup(end_dwfl))) Dwfl *dwfl = NULL;
    _cleanup_stack_ struct stack *stack = new_stack(info->n_threads);
    struct unwinder unwinder = {.memory_fd = memory_fd, .info = info};
    char directories[96];
    char *debug_path = directories;
    const Dwfl_Callbacks callbacks = {
        .find_elf = dwfl_build_id_find_elf,
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .debuginfo_path = info->root_fd > 0 ? &debug_path : NULL,
    };
    int r;

    if (!stack)
        return -ENOMEM;
    name_debug_directories(info->root_fd, directories, sizeof(directories));
    unsetenv("DEBUGINFOD_URLS");
    elf_version(EV_CURRENT);
    elf = elf_memory((char *)&header, sizeof(header)); /* all that libdw asks is the machine */
    dwfl = unwinder.dwfl = dwfl_begin(&callbacks);
    if (!elf || !dwfl) {
        log_error("libdw cannot begin: %s", elf_errmsg(-1));
        return -ENOEXEC;
    }
    r = stack_report_modules(dwfl, memory_fd, exe_path, info);
    if (r < 0)
        return r;
    if (!dwfl_attach_state(dwfl, elf, info->pid, &thread_callbacks, &unwinder)) {
        log_error("libdw cannot unwind: %s", dwfl_errmsg(-1));
        return -ENOEXEC;
    }
    for (size_t i = 0; i < info->n_threads; i++) {
        stack->n_threads++;
        r = i == 0 && first ? unwind_first_thread(&unwinder, &info->threads[0], first, context,
                                                  &stack->threads[0])
                            : unwind_thread(&unwinder, &info->threads[i], &stack->threads[i]);
        if (r < 0)
            return r;
    }
    *ret = take_ptr(stack);
    return 0;
}

void stack_free(struct stack *stack)
{
    if (!stack)
        return;
    for (size_t i = 0; i < stack->n_threads; i++)
        free_frames(&stack->threads[i]);
    free(stack->threads);
    free(stack);
}
