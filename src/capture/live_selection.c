#include "capture/live_selection.h"

#include <errno.h>
#include <stdlib.h>

int live_selection_begin(struct live_selection *selection, const struct live_tables *tables,
                         size_t most)
{
    size_t room = 64;

    while (room < most * 2)
        room *= 2;
    *selection = (struct live_selection){
        .tables = tables,
        .pages = live_pages_of(tables),
        .slots = calloc(room, sizeof(uint64_t)),
        .room = room,
        .most = most,
    };
    return selection->slots ? 0 : -ENOMEM;
}

/* The slot that a page has, or would get. */
static uint64_t *find_slot(const struct live_selection *selection, uint64_t page)
{
    size_t at = (size_t)(page / live_page_size() * 0x9e3779b97f4a7c15ull >> 20);

    while (selection->slots[at % selection->room] != 0 &&
           selection->slots[at % selection->room] != page)
        at++;
    return &selection->slots[at % selection->room];
}

bool live_selection_has(const struct live_selection *selection, uint64_t address)
{
    return *find_slot(selection, address - address % live_page_size()) != 0;
}

static void take_pages(struct live_selection *selection, uint64_t start, uint64_t end)
{
    for (; start < end && selection->count < selection->most; start += live_page_size()) {
        uint64_t *slot = find_slot(selection, start);

        selection->count += *slot == 0;
        *slot = start;
    }
}

/* Takes pages of one mapping, all of them its core's. */
static void take_of_mapping(struct live_selection *selection, const struct live_mapping *mapping,
                            uint64_t start, uint64_t end)
{
    struct live_range range;

    if (mapping->reading != LIVE_TOUCHED) {
        take_pages(selection, start, end);
        return;
    }
    if (end - start <= live_page_size() && live_selection_has(selection, start))
        return;
    selection->pages.is_copied = mapping->is_copied;
    selection->pages.is_listed = mapping->is_listed;
    live_pages_begin(&selection->pages, start, end);
    while (selection->count < selection->most && live_pages_next(&selection->pages, &range) > 0)
        take_pages(selection, range.start, range.end);
}

void live_selection_take(struct live_selection *selection, uint64_t start, uint64_t end)
{
    const struct live_mappings *mappings = &selection->tables->mappings;
    const struct live_mapping *mapping = live_mappings_from(mappings, start);
    const uint64_t page_size = live_page_size();

    start -= start % page_size;
    for (; mapping && mapping < mappings->entries + mappings->count && mapping->start < end;
         mapping++) {
        const uint64_t dump_end = mapping->start + mapping->dump_size;
        uint64_t from = start > mapping->start ? start : mapping->start;
        uint64_t to = end < dump_end ? (end + page_size - 1) / page_size * page_size : dump_end;

        if (from < to && to <= INT64_MAX)
            take_of_mapping(selection, mapping, from, to);
    }
}

static int compare_pages(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;

    return *a < *b ? -1 : *a > *b;
}

/* One segment for each run of pages, which reaches up to the next one as far as addresses go. */
static int add_mapping(struct live_layout *layout, const struct live_mapping *mapping,
                       const uint64_t *pages, size_t count)
{
    struct live_segment segment = {
        .start = mapping->start,
        .protection = mapping->protection,
        .reading = mapping->kind == LIVE_KERNEL ? LIVE_LENIENT : LIVE_WHOLE,
        .is_copied = mapping->is_copied,
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        if (pages[i] != segment.start + segment.file_size) {
            segment.end = pages[i];
            r = live_layout_add(layout, &segment);
            segment.start = pages[i];
            segment.file_size = 0;
        }
        segment.file_size += live_page_size();
    }
    segment.end = mapping->end;
    return r < 0 ? r : live_layout_add(layout, &segment);
}

int live_selection_layout(struct live_selection *selection, struct live_layout *ret)
{
    const struct live_mappings *mappings = &selection->tables->mappings;
    struct live_layout layout = {0};
    uint64_t *pages = selection->slots;
    size_t count = 0, first = 0, end;
    int r = 0;

    for (size_t i = 0; i < selection->room; i++)
        if (selection->slots[i] != 0)
            pages[count++] = selection->slots[i];
    qsort(pages, count, sizeof(pages[0]), compare_pages);
    for (size_t i = 0; r == 0 && i < mappings->count; i++, first = end) {
        const struct live_mapping *mapping = &mappings->entries[i];

        for (end = first; end < count && pages[end] < mapping->end; end++)
            ;
        r = add_mapping(&layout, mapping, pages + first, end - first);
    }
    if (r < 0) {
        live_layout_free(&layout);
        return r;
    }
    live_layout_place(&layout, selection->tables->notes_size);
    *ret = layout;
    return 0;
}

void live_selection_free(struct live_selection *selection)
{
    free(selection->slots);
    selection->slots = NULL;
}
