#include "capture/elf_notes.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "util/io.h"

/* A thread takes about six notes; that leaves room for 170,000 threads, and an end to garbage. */
#define MOST_NOTES (1u << 20)

int elf_bytes_read(const struct elf_bytes *bytes, uint64_t at, void *ret, size_t size)
{
    ssize_t n;

    if (bytes->memory)
        return core_memory_read(bytes->memory, bytes->fd, at, ret, size);
    if (at > INT64_MAX)
        return -ENODATA;
    n = pread_full(bytes->fd, ret, size, at);
    if (n < 0)
        return (int)n;
    return (size_t)n < size ? -ENODATA : 0;
}

struct elf_notes elf_notes_begin(const struct elf_bytes *bytes, uint64_t at, uint64_t size,
                                 uint64_t align)
{
    return (struct elf_notes){
        .bytes = *bytes,
        .at = at,
        .end = size < UINT64_MAX - at ? at + size : UINT64_MAX,
        .align = align == 8 ? 8 : 4,
        .patience = MOST_NOTES,
    };
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

int elf_notes_next(struct elf_notes *notes, struct elf_note *ret)
{
    const uint64_t room = notes->end - notes->at;
    Elf64_Nhdr header;
    uint64_t desc, next;
    size_t name_size;
    int r;

    if (room < sizeof(header) || notes->patience-- == 0)
        return 0;
    r = elf_bytes_read(&notes->bytes, notes->at, &header, sizeof(header));
    if (r < 0)
        return r;

    /* Sizes are 32 bits, so none of these sums wraps. */
    desc = round_up(sizeof(header) + (uint64_t)header.n_namesz, notes->align);
    next = round_up(desc + header.n_descsz, notes->align);
    if (desc + header.n_descsz > room)
        return 0;

    memset(ret, 0, sizeof(*ret));
    name_size = header.n_namesz < sizeof(ret->name) ? header.n_namesz : sizeof(ret->name) - 1;
    r = elf_bytes_read(&notes->bytes, notes->at + sizeof(header), ret->name, name_size);
    if (r < 0)
        return r;
    ret->type = header.n_type;
    ret->desc = notes->at + desc;
    ret->desc_size = header.n_descsz;
    notes->at += next < room ? next : room;
    return 1;
}
