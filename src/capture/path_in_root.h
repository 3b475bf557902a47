#pragma once

/* Paths as a process with another root directory sees them: one in a container, or in a chroot. */

/*
 * Finds what a path names, with symbolic links and ".." resolved as chroot(2) would have it:
 * nothing leads out of the root. Where openat2(2) is to be had (Linux 5.6, and not every seccomp
 * profile) the kernel does it, else each part is looked up on its own.
 *
 * @root_fd  a directory; O_PATH is enough
 * @path     absolute
 * @flags    AT_SYMLINK_NOFOLLOW: a symbolic link as last part is not followed; or 0
 *
 * Returns a descriptor with O_PATH, or -errno.
 */
int path_in_root(int root_fd, const char *path, int flags);

/* The same without openat2(2), for machines that lack it. */
int path_in_root_by_parts(int root_fd, const char *path, int flags);
