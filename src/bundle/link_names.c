#include "bundle/link_names.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "capture/loader_list.h"

#define MOST_TEXT (1u << 20)

#define PAGE_SIZE_MIN 4096

/* Reads page by page, as the page behind the text may be missing. Returns 0 or -ENODATA. */
static int read_name(const struct loader_list *list, uint64_t address, char ret[PATH_MAX])
{
    for (size_t used = 0; used < PATH_MAX;) {
        size_t part = PAGE_SIZE_MIN - address % PAGE_SIZE_MIN;

        if (part > PATH_MAX - used)
            part = PATH_MAX - used;
        if (core_memory_read(&list->info->memory, list->memory_fd, address, ret + used, part) < 0)
            return -ENODATA;
        if (memchr(ret + used, '\0', part))
            return 0;
        used += part;
        address += part;
    }
    return -ENODATA;
}

static int write_names(struct loader_list *list, FILE *out)
{
    char name[PATH_MAX];
    struct link_map link;
    size_t size = 0;
    uint64_t at;
    int r;

    while (size < MOST_TEXT && (r = loader_list_next(list, &at, &link)) != 0) {
        if (r < 0)
            return r;
        if (read_name(list, (uintptr_t)link.l_name, name) == 0 && name[0] != '\0')
            size += fwrite(name, 1, strlen(name) + 1, out);
    }
    return 0;
}

int link_names_read(const struct core_info *info, int memory_fd, struct link_names *ret)
{
    struct loader_list list;
    FILE *out;
    int r;

    *ret = (struct link_names){0};
    r = loader_list_begin(info, memory_fd, &list);
    if (r < 0)
        return r;
    out = open_memstream(&ret->text, &ret->size);
    if (!out)
        return -ENOMEM;
    r = write_names(&list, out);
    return fclose(out) != 0 ? -ENOMEM : r;
}
