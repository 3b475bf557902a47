#include "init/core_watch.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/template.h"

/* For a process that coreinit itself reaps: its bundle takes the core away. */
#define GRACE_MS 3000

/* Of events, 4 KiB each, so that a directory where much happens doesn't keep PID 1. */
#define MOST_READS 64

static int descriptor_path(int fd, char *ret, size_t size)
{
    return snprintf(ret, size, "/proc/self/fd/%d", fd);
}

static bool is_known_device(const struct core_watch *watch, const struct statx *file)
{
    const struct watched_directory *first = &watch->directories[0];

    /* NFS, FUSE and their like, but also overlayfs and tmpfs, have no block device: major 0. */
    return watch->added == 0 || file->stx_dev_major != 0 ||
           (file->stx_dev_major == first->dev_major && file->stx_dev_minor == first->dev_minor);
}

static struct watched_directory *find_directory(struct core_watch *watch, const struct statx *file)
{
    for (size_t i = 0; i < WATCHED_DIRECTORIES; i++) {
        struct watched_directory *directory = &watch->directories[i];

        if (directory->wd && directory->inode == file->stx_ino &&
            directory->dev_major == file->stx_dev_major &&
            directory->dev_minor == file->stx_dev_minor)
            return directory;
    }
    return NULL;
}

/* A free place, else that of the one that was added longest ago; never the first one's, whose
 * device counts. */
static struct watched_directory *place(struct core_watch *watch)
{
    struct watched_directory *oldest = &watch->directories[1];

    if (watch->added == 0)
        return &watch->directories[0];
    for (size_t i = 1; i < WATCHED_DIRECTORIES; i++) {
        struct watched_directory *directory = &watch->directories[i];

        if (!directory->wd)
            return directory;
        if (directory->last_added < oldest->last_added)
            oldest = directory;
    }
    (void)inotify_rm_watch(watch->fd, oldest->wd);
    oldest->wd = 0;
    return oldest;
}

/* Of the first directory, before there is a program: the one time that its server may be asked. */
static bool asks_server(const char *path)
{
    static const unsigned long local[] = {OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, BTRFS_SUPER_MAGIC,
                                          RAMFS_MAGIC};
    struct statfs fs;

    if (statfs(path, &fs) < 0)
        return true;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if ((unsigned long)fs.f_type == local[i])
            return false;
    return true;
}

static int add(struct core_watch *watch, const char *path)
{
    /* Neither of the two asks a server. */
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct watched_directory *directory;
    struct statx file;
    char link[32];
    ssize_t n;
    int wd;

    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &file) < 0)
        return -errno;
    directory = find_directory(watch, &file);
    if (directory) {
        directory->last_added = ++watch->added;
        return 0;
    }
    if (!is_known_device(watch, &file))
        return -EXDEV;

    descriptor_path(fd, link, sizeof(link));
    if (watch->added == 0)
        watch->asks_server = file.stx_dev_major == 0 && asks_server(link);
    wd = inotify_add_watch(watch->fd, link, IN_CLOSE_WRITE);
    if (wd < 0)
        return -errno;
    directory = place(watch);
    *directory = (struct watched_directory){
        .wd = wd,
        .dev_major = file.stx_dev_major,
        .dev_minor = file.stx_dev_minor,
        .inode = file.stx_ino,
        .last_added = ++watch->added,
    };
    n = readlink(link, directory->path, sizeof(directory->path) - 1);
    directory->path[n > 0 ? n : 0] = '\0';
    return 0;
}

static bool has_pid(const char *pattern)
{
    for (; (pattern = strchr(pattern, '%')) && pattern[1]; pattern += 2)
        if (pattern[1] == 'p')
            return true;
    return false;
}

/* Only the last part of the pattern may be a surprise. */
static int read_pattern(struct core_watch *watch, char *ret_directory, size_t size)
{
    char pattern[256], uses_pid[8] = "0";
    const char *slash;
    ssize_t n = read_text_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", pattern, sizeof(pattern));

    if (n < 0)
        return (int)n;
    (void)read_text_at(AT_FDCWD, "/proc/sys/kernel/core_uses_pid", uses_pid, sizeof(uses_pid));
    slash = strrchr(pattern, '/');
    if (pattern[0] == '|' || pattern[0] == '@' ||
        (slash && (pattern[0] != '/' || memchr(pattern, '%', (size_t)(slash - pattern)))))
        return -EOPNOTSUPP;

    watch->follows_processes = !slash;
    snprintf(ret_directory, size, "%.*s", slash ? (int)(slash - pattern) + 1 : 1,
             slash ? pattern : ".");
    n = snprintf(watch->name, sizeof(watch->name), "%s%s", slash ? slash + 1 : pattern,
                 atoi(uses_pid) && !has_pid(pattern) ? ".%p" : "");
    return n > 0 && (size_t)n < sizeof(watch->name) ? 0 : -EOPNOTSUPP;
}

int core_watch_open(struct core_watch *watch)
{
    char directory[256];
    int r = read_pattern(watch, directory, sizeof(directory));

    if (r < 0)
        return r;
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    r = watch->fd < 0 ? -errno : add(watch, directory);
    if (r < 0) {
        close_fd(watch->fd);
        watch->fd = 0;
    }
    return r;
}

void core_watch_add(struct core_watch *watch, const char *directory)
{
    if (watch->fd > 0 && watch->follows_processes)
        (void)add(watch, directory);
}

/*
 * Opens what is at an absolute path for no use but fstat(2). No component may be a symbolic link:
 * the directories are the program's, which may have swapped them for links into another file system
 * since.
 */
static int open_path(const char *path)
{
    int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char component[NAME_MAX + 1];

    while (fd >= 0 && *(path += strspn(path, "/"))) {
        size_t size = strcspn(path, "/");
        _cleanup_close_ int parent = fd;

        if (size >= sizeof(component))
            return -ENAMETOOLONG;
        memcpy(component, path, size);
        component[size] = '\0';
        fd = openat(parent, component, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        path += size;
    }
    return fd < 0 ? -errno : fd;
}

/* That it is one, and a crash's, is for the collector to see; this spares it the most. */
static bool is_core(const struct core_watch *watch, const char *path)
{
    _cleanup_close_ int path_fd = watch->asks_server ? -1 : open_path(path);
    _cleanup_close_ int fd = -1;
    struct statx file;
    Elf64_Ehdr header; /* the first fields are alike in all classes */
    char link[32];

    /* The collector looks too, and may wait for a server. */
    if (watch->asks_server)
        return true;
    if (path_fd < 0 ||
        statx(path_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &file) < 0 ||
        !S_ISREG(file.stx_mode))
        return false;
    descriptor_path(path_fd, link, sizeof(link));
    fd = open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* else a lease (fcntl(2)) makes it wait */
    return fd >= 0 && read_full(fd, &header, sizeof(header)) == sizeof(header) &&
           memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_type == ET_CORE;
}

static void note(struct core_watch *watch, const char *path, int64_t now_ms)
{
    struct appeared_core *free_place = NULL;

    for (size_t i = 0; i < APPEARED_CORES; i++) {
        struct appeared_core *core = &watch->appeared[i];

        /* Another process's of the same name: the last one is there in the end. */
        if (strcmp(core->path, path) == 0)
            return;
        if (!core->path[0])
            free_place = core;
    }
    if (!is_core(watch, path))
        return;
    if (!free_place) {
        log_error("the core %s is not collected: %d others wait already", path, APPEARED_CORES);
        return;
    }
    strcpy(free_place->path, path);
    free_place->due = now_ms + GRACE_MS;
}

static void see(struct core_watch *watch, const struct inotify_event *event, int64_t now_ms)
{
    char path[PATH_MAX];

    if (event->mask & IN_Q_OVERFLOW)
        log_warning("too much happens at once where cores appear: one may have been missed");
    for (size_t i = 0; i < WATCHED_DIRECTORIES; i++) {
        struct watched_directory *directory = &watch->directories[i];

        if (directory->wd == 0 || directory->wd != event->wd)
            continue;
        if (event->mask & IN_IGNORED) /* it was removed */
            directory->wd = 0;
        else if (event->len > 0 && template_matches(watch->name, event->name) &&
                 (size_t)snprintf(path, sizeof(path), "%s/%s", directory->path, event->name) <
                     sizeof(path))
            note(watch, path, now_ms);
    }
}

void core_watch_read(struct core_watch *watch, int64_t now_ms)
{
    _Alignas(struct inotify_event) char events[4096];
    const struct inotify_event *event;
    ssize_t n;

    for (int reads = 0; watch->fd > 0 && reads < MOST_READS; reads++) {
        n = read(watch->fd, events, sizeof(events));
        if (n <= 0)
            return;
        for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*event) + event->len)) {
            event = (const void *)(events + at);
            see(watch, event, now_ms);
        }
    }
}

static const struct appeared_core *first(const struct core_watch *watch)
{
    const struct appeared_core *found = NULL;

    for (size_t i = 0; i < APPEARED_CORES; i++) {
        const struct appeared_core *core = &watch->appeared[i];

        if (core->path[0] && (!found || core->due < found->due))
            found = core;
    }
    return found;
}

bool core_watch_take(struct core_watch *watch, int64_t now_ms, char *ret, size_t size)
{
    const struct appeared_core *core;

    while ((core = first(watch)) && core->due <= now_ms) {
        bool is_there = is_core(watch, core->path);

        snprintf(ret, size, "%s", core->path);
        watch->appeared[core - watch->appeared].path[0] = '\0';
        if (is_there)
            return true;
    }
    return false;
}

int64_t core_watch_next(const struct core_watch *watch)
{
    const struct appeared_core *core = first(watch);

    return core ? core->due : INT64_MAX;
}
