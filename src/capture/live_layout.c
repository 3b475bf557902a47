#include "capture/live_layout.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture/live_memory.h"
#include "capture/stack_registers.h"

/* What a hole must have to be worth a program header of its own. */
#define LEAST_HOLE (64ull << 20)

/* core_info reads twice as many segments; more holes are zeros. */
#define MOST_WITH_HOLES (1u << 20)

int live_layout_add(struct live_layout *layout, const struct live_segment *segment)
{
    if (layout->count == layout->room) {
        size_t room = layout->room ? layout->room * 2 : 256;
        struct live_segment *larger = reallocarray(layout->segments, room, sizeof(*larger));

        if (!larger)
            return -ENOMEM;
        layout->segments = larger;
        layout->room = room;
    }
    layout->segments[layout->count++] = *segment;
    return 0;
}

/* Adds the part of a mapping between two addresses, with or without its bytes. */
static int add_part(struct live_layout *layout, const struct live_mapping *mapping, uint64_t start,
                    uint64_t end, bool has_bytes)
{
    const struct live_segment segment = {
        .start = start,
        .end = end,
        .file_size = has_bytes ? end - start : 0,
        .protection = mapping->protection,
        .reading = mapping->reading,
        .is_copied = mapping->is_copied,
        .is_listed = mapping->is_listed,
    };

    return start == end ? 0 : live_layout_add(layout, &segment);
}

/* Adds a mapping's parts between its large holes. */
static int add_touched(struct live_layout *layout, const struct live_mapping *mapping,
                       struct live_pages *pages)
{
    uint64_t begin = mapping->start, touched_end = begin;
    struct live_range range;
    int r;

    pages->is_copied = mapping->is_copied;
    pages->is_listed = mapping->is_listed;
    live_pages_begin(pages, mapping->start, mapping->end);
    while ((r = live_pages_next(pages, &range)) > 0) {
        if (range.start - touched_end >= LEAST_HOLE && layout->count < MOST_WITH_HOLES) {
            r = add_part(layout, mapping, begin, touched_end, true);
            if (r == 0)
                r = add_part(layout, mapping, touched_end, range.start, false);
            if (r < 0)
                return r;
            begin = range.start;
        }
        touched_end = range.end;
    }
    if (r < 0)
        return r;
    if (mapping->end - touched_end < LEAST_HOLE)
        touched_end = mapping->end;
    r = add_part(layout, mapping, begin, touched_end, true);
    return r < 0 ? r : add_part(layout, mapping, touched_end, mapping->end, false);
}

int live_layout_add_mappings(struct live_layout *layout, const struct live_mappings *mappings,
                             struct live_pages *pages)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];
        const struct live_segment segment = {
            .start = mapping->start,
            .end = mapping->end,
            .file_size = mapping->dump_size,
            .protection = mapping->protection,
            .reading = mapping->reading,
            .is_copied = mapping->is_copied,
            .is_listed = mapping->is_listed,
        };

        if (mapping->reading == LIVE_TOUCHED && mapping->dump_size >= LEAST_HOLE)
            r = add_touched(layout, mapping, pages);
        else
            r = live_layout_add(layout, &segment);
    }
    return r;
}

void live_layout_place(struct live_layout *layout, uint64_t notes_size)
{
    const uint64_t page_size = live_page_size();
    uint64_t at;

    layout->notes_offset = sizeof(Elf64_Ehdr) + (layout->count + 1) * sizeof(Elf64_Phdr);
    layout->notes_size = notes_size;
    at = layout->notes_offset + notes_size;
    at = (at + page_size - 1) / page_size * page_size;
    layout->data_offset = at;
    for (size_t i = 0; i < layout->count; i++) {
        layout->segments[i].file_offset = at;
        at += layout->segments[i].file_size;
    }
    layout->size = at + (layout->count + 1 >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);
}

/* fill_elf_header(), fill_extnum_info() and fill_elf_note_phdr() of fs/binfmt_elf.c. */
static size_t put_header(const struct live_layout *layout, char *ret)
{
    const bool is_extended = layout->count + 1 >= PN_XNUM;
    Elf64_Ehdr header = registers_elf_header();
    const Elf64_Phdr notes = {
        .p_type = PT_NOTE,
        .p_offset = layout->notes_offset,
        .p_filesz = layout->notes_size,
        .p_align = 4,
    };

    header.e_phoff = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = is_extended ? PN_XNUM : (Elf64_Half)(layout->count + 1);
    if (is_extended) {
        header.e_shoff = layout->size - sizeof(Elf64_Shdr);
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = 1;
    }
    memcpy(ret, &header, sizeof(header));
    memcpy(ret + sizeof(header), &notes, sizeof(notes));
    return sizeof(header) + sizeof(notes);
}

size_t live_layout_headers(const struct live_layout *layout, size_t *next, void *ret, size_t room)
{
    size_t used = 0;

    if (*next == 0) {
        used = put_header(layout, ret);
        *next = 1;
    }
    for (; *next <= layout->count && used + sizeof(Elf64_Phdr) <= room; (*next)++) {
        const struct live_segment *segment = &layout->segments[*next - 1];
        const Elf64_Phdr header = {
            .p_type = PT_LOAD,
            .p_flags = segment->protection,
            .p_offset = segment->file_offset,
            .p_vaddr = segment->start,
            .p_filesz = segment->file_size,
            .p_memsz = segment->end - segment->start,
            .p_align = live_page_size(),
        };

        memcpy((char *)ret + used, &header, sizeof(header));
        used += sizeof(header);
    }
    return used;
}

size_t live_layout_trailer(const struct live_layout *layout, void *ret)
{
    const Elf64_Shdr counts = {.sh_size = 1, .sh_info = (Elf64_Word)(layout->count + 1)};

    if (layout->count + 1 < PN_XNUM)
        return 0;
    memcpy(ret, &counts, sizeof(counts));
    return sizeof(counts);
}

void live_layout_free(struct live_layout *layout)
{
    free(layout->segments);
    *layout = (struct live_layout){0};
}
