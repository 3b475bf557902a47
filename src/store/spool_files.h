#pragma once

/* Names and files in a directory where anyone may put anything. Internal to the spool. */

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "bundle/name.h"

#define PART_SUFFIX ".part"

typedef char file_name[NAME_MAX + 1];

/*
 * Joins a name's pieces.
 *
 * Returns 0, -EINVAL (no plain file name) or -ENAMETOOLONG (there must be room for ".part").
 */
int make_name(const char *prefix, const char *stem, const char *suffix, file_name ret);

/* Of a name by make_name(). */
void make_part_name(const char *name, file_name ret);

/* Does the name still mean this very file? In a world-writable directory others may rename. */
bool means_file(int dir_fd, const char *name, dev_t device, ino_t inode);
bool means_fd(int dir_fd, const char *name, int fd);

/*
 * Makes a file, 0600. O_EXCL never follows a symbolic link nor opens what is there: whatever was
 * planted is refused. Returns a descriptor or -errno.
 */
int create_file(int dir_fd, const char *name, int flags);

/*
 * Opens a regular file of one link that belongs to @uid: a second link may be someone's way to have
 * us read (and send) a file that they can't. Nothing else is opened: a device's mere opening may do
 * something.
 *
 * Returns a descriptor, -ELOOP (a symbolic link), -EPERM (something else) or -errno.
 */
int open_own_file(int dir_fd, const char *name, int flags, uid_t uid, struct stat *ret);

/* Looks at a file without opening it. Returns 0 or as open_own_file(). */
int look_at_own_file(int dir_fd, const char *name, uid_t uid, struct stat *ret);

/* Removes a name that still means this file. */
void remove_file(int dir_fd, const char *name, int fd);

/* Removes what belongs to @uid under that name; directories stay. */
void remove_own_file(int dir_fd, const char *name, uid_t uid);

/* fsync(2). Some of FUSE's file systems have none and answer EINVAL: there is nothing to wait for.
 */
int flush_file(int fd);

/*
 * The user that files belong to which we make here: root is nobody on many an NFS, and the access
 * point's user on EFS. Makes one to know; where that fails it is the effective user.
 */
uid_t find_own_uid(int dir_fd);
