#pragma once

/* A choice of a held process's pages, of those that belong to its core and are there. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/live_layout.h"
#include "capture/live_tables.h"

struct live_selection {
    const struct live_tables *tables;
    struct live_pages pages;
    uint64_t *slots; /* a hash table of addresses; 0 is a free slot */
    size_t room;     /* a power of two */
    size_t count, most;
};

/* Begins with nothing, for @most pages. Returns 0 or -ENOMEM. */
int live_selection_begin(struct live_selection *selection, const struct live_tables *tables,
                         size_t most);

bool live_selection_has(const struct live_selection *selection, uint64_t address);

/* Takes the pages between two addresses, until there is no more room. */
void live_selection_take(struct live_selection *selection, uint64_t start, uint64_t end);

/*
 * Makes the layout of a core with all mappings, and with the bytes of the selected pages alone; the
 * selection ends with that.
 *
 * Returns 0 or -ENOMEM.
 */
int live_selection_layout(struct live_selection *selection, struct live_layout *ret);

void live_selection_free(struct live_selection *selection);
