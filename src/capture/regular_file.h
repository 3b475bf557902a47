#pragma once

/* Opening files whose names come from a crashed process. */

/*
 * Opens a regular file for reading and nothing else: opening a fifo would block, and opening a
 * device may act (a watchdog arms itself), so the file is looked at before it is opened.
 *
 * @dir_fd  as for openat(2)
 * @flags   AT_SYMLINK_NOFOLLOW to refuse a symbolic link as last component, or 0
 *
 * Returns a descriptor, -ELOOP (a symbolic link), -EINVAL (not a regular file) or -errno.
 */
int open_regular_at(int dir_fd, const char *path, int flags);

/*
 * The same by a path as the process sees it, below its root directory (path_in_root.h).
 *
 * @root_fd  its root; 0 or less: this process's own
 */
int open_regular_in_root(int root_fd, const char *path, int flags);
