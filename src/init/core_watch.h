#pragma once

/*
 * Core files that appear. A process that coreinit doesn't reap, since its own parent does (a
 * supervisor's worker), tells of its crash in no other way than by the kernel's core: so PID 1
 * watches the directories that core_pattern means, with inotify(7). The kernel closes a core before
 * it tells of the death, so nothing that appears is still being written.
 *
 * Nothing here allocates, and nothing asks the server of a file system that isn't used already.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Directories that are watched: those that were added last. */
#define WATCHED_DIRECTORIES 16

/* Cores that wait to be taken; more at once are told, but not taken. */
#define APPEARED_CORES 8

struct watched_directory {
    int wd; /* inotify's; 0: free */
    uint32_t dev_major, dev_minor;
    uint64_t inode;
    uint64_t last_added;
    char path[PATH_MAX]; /* no component of it was a symbolic link when it was added */
};

struct appeared_core {
    char path[PATH_MAX]; /* "": free */
    int64_t due;
};

struct core_watch {
    int fd;                 /* inotify(7)'s; 0, as in static memory: nothing is watched */
    bool asks_server;       /* the first directory's file system does, to open a file */
    bool follows_processes; /* a relative core_pattern: core_watch_add() tells where they are */
    char name[160];         /* the file's part of core_pattern, core_uses_pid's %p behind it */
    uint64_t added;
    struct watched_directory directories[WATCHED_DIRECTORIES];
    struct appeared_core appeared[APPEARED_CORES];
};

/*
 * Begins to watch the directory that core_pattern names, or, where it is relative, the working
 * directory; called before there are processes whose cores may appear. @watch is zero.
 *
 * Returns 0, -EOPNOTSUPP (core_pattern has directories that aren't known beforehand, or is no
 * file's), or -errno of procfs or inotify(7) (-EMFILE: the user's max_user_instances are in use).
 */
int core_watch_open(struct core_watch *watch);

/*
 * Tells where a process is ("/proc/PID/cwd"). Its directory is watched if it lies on a block
 * device, or on the first directory's file system: another one's server may not answer.
 */
void core_watch_add(struct core_watch *watch, const char *directory);

/* Sees what has appeared until now; to be called when the descriptor is readable. */
void core_watch_read(struct core_watch *watch, int64_t now_ms);

/*
 * Takes a core that appeared at least three seconds ago, and that is still there. Most are taken
 * away meanwhile, by the collection of a process that coreinit reaped.
 *
 * @now_ms  CLOCK_MONOTONIC, as for core_watch_read(); INT64_MAX takes what isn't due yet
 * @ret     its path, as coreinit sees it; @size is PATH_MAX
 */
bool core_watch_take(struct core_watch *watch, int64_t now_ms, char *ret, size_t size);

/* When there may be something to take; INT64_MAX where nothing waits. */
int64_t core_watch_next(const struct core_watch *watch);
