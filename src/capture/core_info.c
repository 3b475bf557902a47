#include "capture/core_info.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/core_mappings.h"
#include "capture/elf_notes.h"
#include "util/cleanup.h"
#include "util/io.h"

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#else
#error "cores of this machine are not known: give its ELF machine number and check elf_prstatus"
#endif
#define NATIVE_DATA (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB)

/* vm.max_map_count is 65,530 by default and a million at its most generous. */
#define MOST_SEGMENTS (1u << 21)

/* A process has at most kernel.threads-max; what a garbled core has is cut here. */
#define MOST_THREADS (1u << 16)

/* The kernel writes one; gcore(1) of old wrote a few. */
#define MOST_NOTE_SEGMENTS 8

/* What is needed while reading, and not after. */
struct reader {
    int fd;
    struct core_info *info;
    struct elf_notes notes[MOST_NOTE_SEGMENTS];
    size_t n_notes;
    size_t thread_room, segment_room;
    uint64_t program_headers; /* AT_PHDR */
    uint64_t entry;           /* AT_ENTRY */
};

/* Makes room for one more in an array that doubles. Returns 0 or -ENOMEM. */
static int make_room(void *array, size_t used, size_t *room, size_t size)
{
    void *larger;
    size_t wanted;

    if (used < *room)
        return 0;
    wanted = *room ? *room * 2 : 16;
    larger = reallocarray(*(void **)array, wanted, size);
    if (!larger)
        return -ENOMEM;
    *(void **)array = larger;
    *room = wanted;
    return 0;
}

/* Reads a note's description into a struct, which older kernels may fill less of. */
static int read_desc(const struct reader *reader, const struct elf_note *note, void *ret,
                     size_t size)
{
    const struct elf_bytes bytes = {.fd = reader->fd};

    memset(ret, 0, size);
    return elf_bytes_read(&bytes, note->desc, ret, note->desc_size < size ? note->desc_size : size);
}

static int read_thread(struct reader *reader, const struct elf_note *note)
{
    struct core_info *info = reader->info;
    struct core_thread *thread;
    struct elf_prstatus status;
    int r;

    if (note->desc_size != sizeof(status) || info->n_threads == MOST_THREADS)
        return 0;
    r = read_desc(reader, note, &status, sizeof(status));
    if (r < 0)
        return r;
    r = make_room(&info->threads, info->n_threads, &reader->thread_room, sizeof(*thread));
    if (r < 0)
        return r;
    thread = &info->threads[info->n_threads++];
    *thread = (struct core_thread){.tid = status.pr_pid};
    memcpy(&thread->registers, &status.pr_reg, sizeof(thread->registers));

    /* fill_note_info() of fs/binfmt_elf.c begins with the thread that dumps. */
    if (info->n_threads == 1) {
        info->signo = status.pr_cursig;
        info->crash_tid = status.pr_cursig ? status.pr_pid : 0;
    }
    return 0;
}

static int read_process(struct reader *reader, const struct elf_note *note)
{
    struct core_info *info = reader->info;
    struct elf_prpsinfo process;
    int r;

    if (note->desc_size != sizeof(process))
        return 0;
    r = read_desc(reader, note, &process, sizeof(process));
    if (r < 0)
        return r;
    info->pid = process.pr_pid;
    info->ppid = process.pr_ppid;
    memcpy(info->comm, process.pr_fname, sizeof(process.pr_fname));
    memcpy(info->args, process.pr_psargs, sizeof(process.pr_psargs));
    return 0;
}

static int read_siginfo(struct reader *reader, const struct elf_note *note)
{
    static const int with_address[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    struct core_info *info = reader->info;
    siginfo_t siginfo;
    int r;

    if (info->has_siginfo)
        return 0;
    r = read_desc(reader, note, &siginfo, sizeof(siginfo));
    if (r < 0)
        return r;
    info->has_siginfo = true;
    info->si_code = siginfo.si_code;
    if (siginfo.si_code <= 0) { /* SI_USER, SI_QUEUE, SI_TKILL: sigaction(2) */
        info->sender_pid = siginfo.si_pid;
        info->sender_uid = siginfo.si_uid;
        return 0;
    }
    for (size_t i = 0; i < sizeof(with_address) / sizeof(with_address[0]); i++)
        if (siginfo.si_signo == with_address[i])
            info->fault_address = (uint64_t)(uintptr_t)siginfo.si_addr;
    return 0;
}

static int read_auxv(struct reader *reader, const struct elf_note *note)
{
    Elf64_auxv_t auxv[64]; /* the kernel passes about twenty */
    int r;

    r = read_desc(reader, note, auxv, sizeof(auxv));
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(auxv) / sizeof(auxv[0]) && auxv[i].a_type != AT_NULL; i++) {
        if (auxv[i].a_type == AT_PHDR)
            reader->program_headers = auxv[i].a_un.a_val;
        else if (auxv[i].a_type == AT_ENTRY)
            reader->entry = auxv[i].a_un.a_val;
        else if (auxv[i].a_type == AT_SYSINFO_EHDR)
            reader->info->vdso = auxv[i].a_un.a_val;
    }
    return 0;
}

/* A table that makes no sense costs the mappings, not the core. */
static int read_files(struct reader *reader, const struct elf_note *note)
{
    int r = core_mappings_from_note(reader->fd, note->desc, note->desc_size, reader->info);

    return r == -EINVAL || r == -EFBIG ? 0 : r;
}

static const struct note_handler {
    uint32_t type;
    int (*read)(struct reader *reader, const struct elf_note *note);
} note_handlers[] = {
    {NT_PRSTATUS, read_thread}, {NT_PRPSINFO, read_process}, {NT_SIGINFO, read_siginfo},
    {NT_AUXV, read_auxv},       {NT_FILE, read_files},
};

static int read_notes(struct reader *reader, struct elf_notes *notes)
{
    struct elf_note note;
    int r;

    while ((r = elf_notes_next(notes, &note)) > 0) {
        if (strcmp(note.name, "CORE") != 0)
            continue;
        for (size_t i = 0; i < sizeof(note_handlers) / sizeof(note_handlers[0]); i++) {
            if (note_handlers[i].type != note.type)
                continue;
            r = note_handlers[i].read(reader, &note);
            if (r < 0)
                return r;
        }
    }
    return r;
}

static int check_header(const Elf64_Ehdr *header)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return -ENOEXEC;
    if (header->e_ident[EI_DATA] != NATIVE_DATA)
        return -ENOTSUP;
    if (header->e_type != ET_CORE) /* at the same place in both classes */
        return -ENOEXEC;
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != NATIVE_MACHINE)
        return -ENOTSUP;
    return header->e_phentsize == sizeof(Elf64_Phdr) ? 0 : -ENOEXEC;
}

/*
 * The number of program headers. More than 65,534 don't fit into e_phnum; the number is then in a
 * section header, which the kernel writes behind everything else, so a truncated core lacks it. But
 * the notes, which the first program header is about, begin where the program headers end.
 */
static int count_headers(const struct elf_bytes *bytes, const Elf64_Ehdr *header, uint64_t *ret)
{
    Elf64_Phdr first;
    int r;

    *ret = header->e_phnum;
    if (header->e_phnum != PN_XNUM)
        return 0;
    r = elf_bytes_read(bytes, header->e_phoff, &first, sizeof(first));
    if (r < 0)
        return r;
    if (first.p_type != PT_NOTE || first.p_offset < header->e_phoff)
        return -ENOEXEC;
    *ret = (first.p_offset - header->e_phoff) / sizeof(first);
    return 0;
}

static int add_segment(struct reader *reader, const Elf64_Phdr *header)
{
    struct core_memory *memory = &reader->info->memory;
    int r;

    if (header->p_memsz == 0 || header->p_memsz > UINT64_MAX - header->p_vaddr)
        return 0;
    r = make_room(&memory->segments, memory->n_segments, &reader->segment_room,
                  sizeof(memory->segments[0]));
    if (r < 0)
        return r;
    memory->segments[memory->n_segments++] = (struct core_segment){
        .start = header->p_vaddr,
        .end = header->p_vaddr + header->p_memsz,
        .file_offset = header->p_offset,
        .file_size = header->p_filesz < header->p_memsz ? header->p_filesz : header->p_memsz,
        .executable = header->p_flags & PF_X,
    };
    return 0;
}

static int add_header(struct reader *reader, const Elf64_Phdr *header)
{
    const struct elf_bytes bytes = {.fd = reader->fd};
    struct core_info *info = reader->info;
    uint64_t end = header->p_offset + header->p_filesz;

    if (header->p_offset > INT64_MAX || header->p_filesz > INT64_MAX)
        return -ENOEXEC;
    if (end > info->expected_size)
        info->expected_size = end;
    if (header->p_type == PT_LOAD)
        return add_segment(reader, header);
    if (header->p_type != PT_NOTE || reader->n_notes == MOST_NOTE_SEGMENTS)
        return 0;
    if (end > info->file_size)
        return -ENODATA;
    reader->notes[reader->n_notes++] =
        elf_notes_begin(&bytes, header->p_offset, header->p_filesz, header->p_align);
    return 0;
}

static int compare_segments(const void *left, const void *right)
{
    const struct core_segment *a = left, *b = right;

    return a->start < b->start ? -1 : a->start > b->start;
}

static int read_headers(struct reader *reader)
{
    const struct core_memory *memory = &reader->info->memory;
    const struct elf_bytes bytes = {.fd = reader->fd};
    Elf64_Phdr headers[256];
    Elf64_Ehdr header;
    uint64_t count;
    int r;

    r = elf_bytes_read(&bytes, 0, &header, sizeof(header));
    if (r < 0)
        return r == -ENODATA ? -ENOEXEC : r;
    r = check_header(&header);
    if (r < 0)
        return r;
    r = count_headers(&bytes, &header, &count);
    if (r < 0)
        return r;
    if (count > MOST_SEGMENTS || header.e_phoff > INT64_MAX - count * sizeof(headers[0]))
        return -ENOEXEC;

    for (uint64_t i = 0, part; i < count; i += part) {
        part = sizeof(headers) / sizeof(headers[0]);
        if (part > count - i)
            part = count - i;
        r = elf_bytes_read(&bytes, header.e_phoff + i * sizeof(headers[0]), headers,
                           part * sizeof(headers[0]));
        for (uint64_t k = 0; r == 0 && k < part; k++)
            r = add_header(reader, &headers[k]);
        if (r < 0)
            return r;
    }
    if (memory->n_segments > 0)
        qsort(memory->segments, memory->n_segments, sizeof(memory->segments[0]), compare_segments);
    return reader->n_notes > 0 ? 0 : -ENOEXEC;
}

/* Reads all notes, and from @memory_fd what they lead to. */
static int read_content(struct reader *reader, int memory_fd)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < reader->n_notes; i++)
        r = read_notes(reader, &reader->notes[i]);
    if (r < 0)
        return r;
    return core_modules_find(
        memory_fd, reader->program_headers ? reader->program_headers : reader->entry, reader->info);
}

int core_info_read(int fd, struct core_info **ret)
{
    _cleanup_core_info_ struct core_info *info = calloc(1, sizeof(*info));
    struct reader reader = {.fd = fd, .info = info};
    struct stat st;
    int r;

    if (!info)
        return -ENOMEM;
    if (fstat(fd, &st) < 0)
        return -errno;
    info->file_size = (uint64_t)st.st_size;
    r = read_headers(&reader);
    if (r == 0)
        r = read_content(&reader, fd);
    if (r < 0)
        return r;
    info->truncated = info->file_size < info->expected_size;
    *ret = take_ptr(info);
    return 0;
}

int core_info_of_process(int notes_fd, uint64_t notes_size, const struct core_memory *memory,
                         int memory_fd, int root_fd, struct core_info **ret)
{
    _cleanup_core_info_ struct core_info *info = calloc(1, sizeof(*info));
    const struct elf_bytes bytes = {.fd = notes_fd};
    struct reader reader = {
        .fd = notes_fd,
        .info = info,
        .notes = {elf_notes_begin(&bytes, 0, notes_size, 4)},
        .n_notes = 1,
    };
    int r;

    if (!info) {
        free(memory->segments);
        return -ENOMEM;
    }
    info->memory = *memory;
    info->root_fd = root_fd;
    r = read_content(&reader, memory_fd);
    if (r < 0)
        return r;
    *ret = take_ptr(info);
    return 0;
}

int core_info_from_maps(int maps_fd, int root_fd, struct core_info **ret)
{
    _cleanup_core_info_ struct core_info *info = calloc(1, sizeof(*info));
    int r;

    if (!info)
        return -ENOMEM;
    info->root_fd = root_fd;
    r = core_mappings_from_maps(maps_fd, info);
    if (r < 0)
        return r;
    r = core_modules_find(-1, 0, info);
    if (r < 0)
        return r;
    *ret = take_ptr(info);
    return 0;
}

void core_info_free(struct core_info *info)
{
    if (!info)
        return;
    free(info->threads);
    free(info->mappings);
    free(info->modules);
    free(info->memory.segments);
    free(info->paths);
    free(info);
}
