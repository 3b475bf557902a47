#include "capture/core_search.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "util/cleanup.h"

/* kernel.core_pattern has 127 bytes, most of them slashes at worst, below a working directory. */
#define MOST_COMPONENTS 192

struct search {
    void (*found)(const struct core_candidate *candidate, void *context);
    void *context;
};

static void close_directory(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

static bool has_wildcard(const char *component)
{
    for (; *component; component++) {
        if (*component == '*')
            return true;
        component += *component == '\\' && component[1];
    }
    return false;
}

static void unescape(char *component)
{
    char *to = component;

    for (; *component; component++) {
        component += *component == '\\' && component[1];
        *to++ = *component;
    }
    *to = '\0';
}

static int walk(const struct search *search, int dir_fd, const char *dir_path, const char *pattern,
                size_t trusted, unsigned depth);

/* One name of a directory: a candidate where it is the pattern's last component, else a directory
 * on the way. */
static int step(const struct search *search, int dir_fd, const char *dir_path, const char *name,
                bool is_exact, const char *rest, size_t trusted, unsigned depth)
{
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC | (trusted ? 0 : O_NOFOLLOW);
    _cleanup_close_ int fd = -1;
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir_path, name) >= sizeof(path))
        return -ENAMETOOLONG;
    if (!rest) {
        const struct core_candidate candidate = {
            .dir_fd = dir_fd, .name = name, .path = path, .is_exact = is_exact};

        search->found(&candidate, search->context);
        return 0;
    }
    fd = openat(dir_fd, name, flags);
    if (fd < 0)
        return -errno;
    return walk(search, fd, path, rest, trusted ? trusted - 1 : 0, depth + 1);
}

static int step_into_matches(const struct search *search, int dir_fd, const char *dir_path,
                             const char *component, const char *rest, unsigned depth)
{
    _cleanup_close_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_directory) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!directory)
        return -errno;
    take_fd(&fd); /* the stream's now */
    while ((entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fnmatch(component, entry->d_name, 0) != 0)
            continue;
        /* What can't be entered is no directory that the pattern means. */
        (void)step(search, dir_fd, dir_path, entry->d_name, false, rest, 0, depth);
    }
    return 0;
}

static int walk(const struct search *search, int dir_fd, const char *dir_path, const char *pattern,
                size_t trusted, unsigned depth)
{
    char component[2 * NAME_MAX + 1]; /* every character may be escaped */
    const char *rest;
    size_t size;

    pattern += strspn(pattern, "/");
    size = strcspn(pattern, "/");
    if (size == 0)
        return -ENOENT; /* a directory's name: no core can be called so */
    if (size >= sizeof(component) || depth > MOST_COMPONENTS)
        return -ENAMETOOLONG;
    memcpy(component, pattern, size);
    component[size] = '\0';
    rest = pattern[size] ? pattern + size : NULL;

    if (has_wildcard(component))
        return step_into_matches(search, dir_fd, dir_path, component, rest, depth);
    unescape(component);
    return step(search, dir_fd, dir_path, component, true, rest, trusted, depth);
}

int core_search(const char *pattern, size_t trusted,
                void (*found)(const struct core_candidate *candidate, void *context), void *context)
{
    const struct search search = {.found = found, .context = context};
    _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    return root < 0 ? -errno : walk(&search, root, "", pattern, trusted, 0);
}
