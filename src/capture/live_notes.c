#include "capture/live_notes.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>

#include "capture/live_memory.h"
#include "capture/live_registers.h"
#include "capture/live_threads.h"
#include "trace/thread_note.h"
#include "util/cleanup.h"
#include "util/io.h"

#ifndef NT_X86_XSAVE_LAYOUT
#define NT_X86_XSAVE_LAYOUT 0x205 /* linux/elf.h since 6.12 */
#endif

/* What core_mappings.h reads. */
#define MOST_FILE_BYTES (16u << 20)

/* Notes are padded to words of 4 bytes. */
#define NOTE_ALIGN 4

struct writer {
    const struct crash_record *record;
    int fd;
    uint64_t size;
};

/* One note of the record's threads. */
struct thread_part {
    struct thread_note head;
    char data[THREAD_NOTE_MAX];
};

static int put(struct writer *writer, const void *data, size_t size)
{
    writer->size += size;
    return write_all(writer->fd, data, size);
}

static int put_note(struct writer *writer, const char *name, uint32_t type, const void *desc,
                    size_t size)
{
    static const char padding[NOTE_ALIGN];
    struct {
        Elf64_Nhdr header;
        char name[8]; /* what "CORE" and "LINUX" are padded to */
    } head = {.header = {(Elf64_Word)strlen(name) + 1, (Elf64_Word)size, type}};
    int r;

    memcpy(head.name, name, strlen(name));
    r = put(writer, &head, sizeof(head));
    if (r == 0)
        r = put(writer, desc, size);
    if (r == 0 && size % NOTE_ALIGN != 0)
        r = put(writer, padding, NOTE_ALIGN - size % NOTE_ALIGN);
    return r;
}

/* Fetches the next note of the record's threads. Returns 1, 0 at the end, or -errno. */
static int next_part(int threads_fd, uint64_t *at, struct thread_part *ret)
{
    ssize_t n = pread_full(threads_fd, &ret->head, sizeof(ret->head), *at);

    if (n <= 0)
        return (int)n;
    if ((size_t)n < sizeof(ret->head) || ret->head.size > sizeof(ret->data))
        return -EBADMSG;
    *at += sizeof(ret->head);
    n = pread_full(threads_fd, ret->data, ret->head.size, *at);
    if (n < 0)
        return (int)n;
    *at += ((uint64_t)ret->head.size + 7) & ~7ull;
    return (size_t)n < ret->head.size ? -EBADMSG : 1;
}

int live_notes_next_thread(int threads_fd, uint64_t *at, pid_t *ret)
{
    struct thread_part part;
    int r;

    while ((r = next_part(threads_fd, at, &part)) > 0) {
        if (part.head.type != NT_PRSTATUS)
            continue;
        *ret = part.head.tid;
        return 1;
    }
    return r;
}

/* Looks for a thread's note behind its first one. Returns true with it. */
static bool find_part(int threads_fd, uint64_t at, uint32_t type, struct thread_part *ret)
{
    while (next_part(threads_fd, &at, ret) > 0 && ret->head.type != NT_PRSTATUS)
        if (ret->head.type == type)
            return true;
    return false;
}

/* @at is behind the thread's first note, @registers. */
static int put_thread(struct writer *writer, uint64_t at, const struct thread_part *registers)
{
    struct elf_prstatus status;
    struct thread_part floating;

    if (registers->head.size != sizeof(status.pr_reg))
        return -EBADMSG;
    live_thread_status(writer->record, registers->head.tid, &status);
    memcpy(&status.pr_reg, registers->data, sizeof(status.pr_reg));
    status.pr_fpvalid = find_part(writer->record->threads_fd, at, NT_PRFPREG, &floating);
    return put_note(writer, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

/* The auxiliary vector up to its end, AT_NULL included. */
static int put_auxv(struct writer *writer)
{
    const struct crash_record *record = writer->record;
    Elf64_auxv_t auxv[CRASH_AUXV / sizeof(Elf64_auxv_t)] = {0};
    size_t size = record->auxv_size < sizeof(auxv) ? record->auxv_size : sizeof(auxv);
    size_t count = 0;

    memcpy(auxv, record->auxv, size);
    if (size == 0) {
        char path[64];
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "/proc/%d/auxv", record->crash_tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read_full(fd, auxv, sizeof(auxv)) <= 0)
            return 0;
    }
    while (count < sizeof(auxv) / sizeof(auxv[0]) && auxv[count++].a_type != AT_NULL)
        ;
    return put_note(writer, "CORE", NT_AUXV, auxv, count * sizeof(auxv[0]));
}

/* fill_files_note() of fs/binfmt_elf.c. */
static int put_files(struct writer *writer, const struct live_mappings *mappings)
{
    const uint64_t page_size = live_page_size();
    _cleanup_free_ char *note = NULL;
    uint64_t count = 0, paths_size = 0;
    uint64_t *word;
    char *path;
    size_t size;

    for (size_t i = 0; i < mappings->count; i++) {
        if (mappings->entries[i].kind != LIVE_FILE)
            continue;
        count++;
        paths_size += strlen(live_mapping_path(mappings, &mappings->entries[i])) + 1;
    }
    size = (2 + 3 * count) * sizeof(*word) + paths_size;
    if (size > MOST_FILE_BYTES)
        return 0;
    note = malloc(size);
    if (!note)
        return -ENOMEM;
    word = (uint64_t *)note;
    path = note + (2 + 3 * count) * sizeof(*word);
    *word++ = count;
    *word++ = page_size;
    for (size_t i = 0; i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];

        if (mapping->kind != LIVE_FILE)
            continue;
        *word++ = mapping->start;
        *word++ = mapping->end;
        *word++ = mapping->offset / page_size;
        path = stpcpy(path, live_mapping_path(mappings, mapping)) + 1;
    }
    return put_note(writer, "CORE", NT_FILE, note, size);
}

/* @at is behind the crashing thread's first note. */
static int put_process(struct writer *writer, const struct live_mappings *mappings, uint64_t at)
{
    struct elf_prpsinfo process;
    struct thread_part siginfo;
    int r;

    live_process_status(writer->record, &process);
    r = put_note(writer, "CORE", NT_PRPSINFO, &process, sizeof(process));
    if (r == 0 && find_part(writer->record->threads_fd, at, NT_SIGINFO, &siginfo))
        r = put_note(writer, "CORE", NT_SIGINFO, siginfo.data, siginfo.head.size);
    if (r == 0)
        r = put_auxv(writer);
    return r < 0 ? r : put_files(writer, mappings);
}

/* @at is behind the crashing thread's first note. */
static int put_xsave_layout(struct writer *writer, uint64_t at)
{
    struct thread_part xstate;
    char layout[64 * 16];
    size_t size;

    if (!find_part(writer->record->threads_fd, at, NT_X86_XSTATE, &xstate))
        return 0;
    size = live_xsave_layout(xstate.data, xstate.head.size, layout);
    return size == 0 ? 0 : put_note(writer, "LINUX", NT_X86_XSAVE_LAYOUT, layout, size);
}

int live_notes_write(const struct crash_record *record, const struct live_mappings *mappings,
                     int out_fd, uint64_t *ret_size)
{
    struct writer writer = {.record = record, .fd = out_fd};
    uint64_t at = 0, first_end = 0;
    struct thread_part part;
    int r;

    while ((r = next_part(record->threads_fd, &at, &part)) > 0) {
        if (first_end == 0 && part.head.type != NT_PRSTATUS)
            return -EBADMSG;
        if (part.head.type == NT_PRSTATUS)
            r = put_thread(&writer, at, &part);
        else if (part.head.type != NT_SIGINFO)
            r = put_note(&writer, part.head.type == NT_PRFPREG ? "CORE" : "LINUX", part.head.type,
                         part.data, part.head.size);
        if (r == 0 && first_end == 0) {
            first_end = at;
            r = put_process(&writer, mappings, at);
        }
        if (r < 0)
            return r;
    }
    if (r == 0 && first_end == 0)
        r = -ENODATA;
    if (r == 0)
        r = put_xsave_layout(&writer, first_end);
    *ret_size = writer.size;
    return r;
}
