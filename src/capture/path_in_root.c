#include "capture/path_in_root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"

/* Deeper than any file lies, and as many links as the kernel follows (path_resolution(7)). */
#define MOST_PARTS 128
#define MOST_LINKS 40

/* Where the way has led so far: each part's descriptor, so that ".." needs no lookup. */
struct way {
    int root_fd; /* not owned */
    int parts[MOST_PARTS];
    size_t count;
    char rest[2 * PATH_MAX]; /* to be walked yet */
    int links;
};

static void go_back(struct way *way, size_t count)
{
    while (way->count > count)
        close_fd(way->parts[--way->count]);
}

static void free_way(struct way *way)
{
    go_back(way, 0);
}

static int here(const struct way *way)
{
    return way->count ? way->parts[way->count - 1] : way->root_fd;
}

/* Puts a link's target before what is left of the path. */
static int follow(struct way *way, int link_fd)
{
    char target[PATH_MAX], rest[sizeof(way->rest)];
    ssize_t n = readlinkat(link_fd, "", target, sizeof(target) - 1);

    if (n <= 0)
        return n < 0 ? -errno : -ENOENT;
    if (++way->links > MOST_LINKS)
        return -ELOOP;
    target[n] = '\0';
    if ((size_t)snprintf(rest, sizeof(rest), "%s/%s", target, way->rest) >= sizeof(rest))
        return -ENAMETOOLONG;
    memcpy(way->rest, rest, sizeof(rest));
    if (target[0] == '/')
        go_back(way, 0);
    return 0;
}

/* Takes the first part off the rest. Returns false where there is none. */
static bool next_part(struct way *way, char ret[NAME_MAX + 2])
{
    const char *begin = way->rest + strspn(way->rest, "/");
    const size_t length = strcspn(begin, "/");

    snprintf(ret, NAME_MAX + 2, "%.*s", (int)(length < NAME_MAX + 2 ? length : NAME_MAX + 1),
             begin);
    memmove(way->rest, begin + length, strlen(begin + length) + 1);
    return length > 0;
}

static bool is_last(const struct way *way)
{
    return way->rest[strspn(way->rest, "/")] == '\0';
}

static int enter(struct way *way, const char *name, int flags)
{
    _cleanup_close_ int fd = openat(here(way), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode) && !((flags & AT_SYMLINK_NOFOLLOW) && is_last(way)))
        return follow(way, fd);
    if (way->count == MOST_PARTS)
        return -ENAMETOOLONG;
    way->parts[way->count++] = take_fd(&fd);
    return 0;
}

int path_in_root_by_parts(int root_fd, const char *path, int flags)
{
    _cleanup_(free_way) struct way way = {.root_fd = root_fd};
    char name[NAME_MAX + 2];
    int r = 0, fd;

    if ((size_t)snprintf(way.rest, sizeof(way.rest), "%s", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    while (r == 0 && next_part(&way, name)) {
        if (strcmp(name, "..") == 0)
            go_back(&way, way.count > 0 ? way.count - 1 : 0);
        else if (strcmp(name, ".") != 0)
            r = enter(&way, name, flags);
    }
    if (r < 0)
        return r;
    fd = fcntl(here(&way), F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? -errno : fd;
}

int path_in_root(int root_fd, const char *path, int flags)
{
    const struct open_how how = {
        .flags = (uint64_t)O_PATH | O_CLOEXEC | ((flags & AT_SYMLINK_NOFOLLOW) ? O_NOFOLLOW : 0),
        .resolve = RESOLVE_IN_ROOT,
    };
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

    if (fd >= 0)
        return fd;
    /* EPERM is a seccomp profile's answer; EAGAIN tells of a race that the kernel leaves to us. */
    if (errno == ENOSYS || errno == EPERM || errno == EAGAIN)
        return path_in_root_by_parts(root_fd, path, flags);
    return -errno;
}
