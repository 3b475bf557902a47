#pragma once

/*
 * The dynamic loader's list of what it has loaded: the link_map chain of <link.h>, to which the
 * executable's DT_DEBUG leads, as gdb reads it. glibc and musl keep one. All memory is distrusted.
 */

#include <link.h>
#include <stdint.h>

#include "capture/core_info.h"

/* Of a dynamic section: what lies behind isn't looked at. */
#define LOADER_LIST_TAGS 256

struct loader_list {
    const struct core_info *info;
    int memory_fd;
    uint64_t dynamic; /* address of the executable's dynamic section */
    uint64_t debug;   /* of its struct r_debug */
    uint64_t next;    /* of the next entry, 0 at the end */
    unsigned left;    /* entries until a chain is taken for one without an end */
};

/*
 * Finds the list.
 *
 * @memory_fd  what info->memory lies in: the core, or /proc/PID/mem
 *
 * Returns 0 or -ENODATA (a static program, or memory that isn't there).
 */
int loader_list_begin(const struct core_info *info, int memory_fd, struct loader_list *ret);

/*
 * Fetches the next entry.
 *
 * @ret_at  its address
 *
 * Returns 1, 0 at the end, or -ENODATA (the rest can't be read).
 */
int loader_list_next(struct loader_list *list, uint64_t *ret_at, struct link_map *ret);
