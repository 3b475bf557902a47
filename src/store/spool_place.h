#pragma once

/* What a cores dir is like, before anything is put there. */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct spool_place {
    int error;         /* what spool_open() or the first write would return; 0: all is well */
    bool exists;       /* be it as something else than a directory; else it would be made */
    bool is_own_mount; /* not of the file system that / is: a volume, in a container */
    bool is_memory;    /* tmpfs(5): it goes with its mount, and counts as memory */
    uint64_t free_bytes;
    uint64_t free_inodes; /* UINT64_MAX where the file system has no such count */
};

/*
 * Looks at a directory as this process's user: a file is made there and removed, since modes alone
 * don't tell (NFS with root squash, quotas); so is the directory itself where it is missing. No
 * path ("") is -ENOENT.
 */
void spool_place_look(const char *path, struct spool_place *ret);
