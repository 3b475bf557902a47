#pragma once

/* The names under which the dynamic loader knows a process's libraries. */

#include <stdlib.h>

#include "capture/core_info.h"

/* One after the other in the chain's order, each with its NUL. Zeros: none. */
struct link_names {
    char *text;
    size_t size;
};

/*
 * Reads the name of every library in the loader's list (loader_list.h); the executable, which has
 * none, is left out, and so is a name that can't be read, and what is more than 1 MiB.
 *
 * @memory_fd  what info->memory lies in: the core, or /proc/PID/mem
 * @ret        to be freed with link_names_free(); after -ENODATA what was read until then
 *
 * Returns 0, -ENODATA (no chain, or its rest can't be read: a static program, or memory that was
 * not dumped) or -ENOMEM.
 */
int link_names_read(const struct core_info *info, int memory_fd, struct link_names *ret);

static inline void link_names_free(struct link_names *names)
{
    free(names->text);
}
#define _cleanup_link_names_ __attribute__((cleanup(link_names_free)))
