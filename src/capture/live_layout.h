#pragma once

/* Where everything lies in a core: its program headers, notes and memory (elf(5)). */

#include "capture/live_mappings.h"
#include "capture/live_pages.h"

/* One PT_LOAD. */
struct live_segment {
    uint64_t start, end;  /* addresses */
    uint64_t file_size;   /* bytes from @start on that are in the core */
    uint64_t file_offset; /* of those */
    uint8_t protection;   /* p_flags */
    enum live_reading reading;
    bool is_copied, is_listed; /* as its mapping */
};

struct live_layout {
    struct live_segment *segments; /* by address */
    size_t count, room;
    uint64_t notes_offset, notes_size;
    uint64_t data_offset; /* where the first segment's bytes are */
    uint64_t size;        /* of the core */
};

/* Adds a segment, whose place in the core is set later. Returns 0 or -ENOMEM. */
int live_layout_add(struct live_layout *layout, const struct live_segment *segment);

/*
 * Makes the segments that the kernel makes, one a mapping. Only holes of 64 MiB or more in memory
 * of which no more than the touched pages is read become segments without bytes, for such holes may
 * be terabytes.
 *
 * @pages  for looking; its walk is lost
 *
 * Returns 0, -ENOMEM or -errno of looking.
 */
int live_layout_add_mappings(struct live_layout *layout, const struct live_mappings *mappings,
                             struct live_pages *pages);

/* Gives everything its place, once all segments are there. */
void live_layout_place(struct live_layout *layout, uint64_t notes_size);

/*
 * Writes a part of what comes before the notes: the ELF header with the notes' program header, then
 * one program header after the other.
 *
 * @next  0 to begin with; is advanced
 * @ret   with room for at least 4 KiB
 *
 * Returns the bytes that were written, 0 once nothing is left.
 */
size_t live_layout_headers(const struct live_layout *layout, size_t *next, void *ret, size_t room);

/*
 * Writes what comes behind the memory: the section header that counts the segments where the ELF
 * header can't. Returns its size, or 0 where there is none.
 */
size_t live_layout_trailer(const struct live_layout *layout, void *ret);

void live_layout_free(struct live_layout *layout);
