#include "bundle/libs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bundle/zip.h"
#include "capture/module_file.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* A garbled core may name hundreds of thousands of files. */
#define MOST_LEFT_OUT_TOLD 16

#define LIBS_LEVEL 5 /* code gets 1 % larger than at 9, in a sixth of its time */

/* What is in the archive. */
struct member {
    char *name;
    dev_t device;
    ino_t inode; /* 0 for a directory */
};

struct archive {
    struct zip *zip;
    const struct core_info *info;
    struct member *members;
    size_t n_members, room;
    size_t n_left_out;
};

static void free_members(struct archive *archive)
{
    for (size_t i = 0; i < archive->n_members; i++)
        free(archive->members[i].name);
    free(archive->members);
}

static int remember(struct archive *archive, const char *name, dev_t device, ino_t inode)
{
    struct member *members = archive->members;

    if (archive->n_members == archive->room) {
        archive->room = archive->room ? 2 * archive->room : 64;
        members = reallocarray(members, archive->room, sizeof(*members));
        if (!members)
            return -ENOMEM;
        archive->members = members;
    }
    members[archive->n_members] = (struct member){strdup(name), device, inode};
    return members[archive->n_members].name ? (archive->n_members++, 0) : -ENOMEM;
}

static bool has_inode(const struct archive *archive, dev_t device, ino_t inode)
{
    for (size_t i = 0; i < archive->n_members; i++)
        if (archive->members[i].inode == inode && archive->members[i].device == device)
            return true;
    return false;
}

/* Tells whether unpacking the archive so far makes @name, as a file, or a directory on the way. */
static bool has_name(const struct archive *archive, const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < archive->n_members; i++) {
        const char *other = archive->members[i].name;

        if (strncmp(other, name, length) == 0 && (other[length] == '\0' || other[length] == '/'))
            return true;
    }
    return false;
}

/* Copies at most the @size bytes that were announced: the file may grow, or shrink, meanwhile. */
static int copy_content(struct zip *zip, int fd, uint64_t size, const char *name)
{
    uint8_t buffer[64 * 1024];
    int r = 0;

    for (uint64_t done = 0; r == 0 && done < size;) {
        size_t part = size - done < sizeof(buffer) ? (size_t)(size - done) : sizeof(buffer);
        ssize_t n = pread_full(fd, buffer, part, done);

        if (n <= 0) {
            log_warning("/%s is cut after %llu bytes in .libs.zip: %s", name,
                        (unsigned long long)done, n < 0 ? strerrordesc_np((int)-n) : "it shrank");
            break;
        }
        r = zip_write(zip, buffer, (size_t)n);
        done += (uint64_t)n;
    }
    return r;
}

static int add_file(struct archive *archive, const char *name, int fd, const struct stat *st)
{
    int r = zip_entry_begin(archive->zip, name, st->st_mode, st->st_mtime, (uint64_t)st->st_size);

    if (r == -EINVAL) { /* a damaged core's path; had the sink said so, it would say it again */
        log_warning("/%s is left out of .libs.zip: an archive can't have such a name", name);
        return 0;
    }
    if (r == 0)
        r = copy_content(archive->zip, fd, (uint64_t)st->st_size, name);
    if (r == 0)
        r = zip_entry_end(archive->zip);
    return r < 0 ? r : remember(archive, name, st->st_dev, st->st_ino);
}

/* What opening and identifying a file may return, in words for its case here. */
static const char *explain(int error)
{
    static const struct {
        int error;
        const char *words;
    } causes[] = {
        {EINVAL, "something else than a file is in its place"},
        {ELOOP, "a symbolic link is in its place"},
        {ENOEXEC, "it is no ELF file any more"},
        {ENODATA, "it is no whole ELF file any more"},
        {ESTALE, "it was replaced since it was mapped"},
    };

    for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
        if (causes[i].error == -error)
            return causes[i].words;
    return strerrordesc_np(-error);
}

/* Opens a module's file if it is still the one that was mapped; why not is returned in words. */
static const char *open_module(const struct archive *archive, const struct core_module *module,
                               int *ret_fd, struct stat *ret_st)
{
    /* The kernel tells paths without symbolic links, so one there now isn't what was mapped. */
    *ret_fd = module_open(archive->info, module, AT_SYMLINK_NOFOLLOW);
    if (*ret_fd < 0)
        return explain(*ret_fd);
    return fstat(*ret_fd, ret_st) < 0 ? strerrordesc_np(errno) : NULL;
}

static int add_module(struct archive *archive, const struct core_module *module)
{
    _cleanup_close_ int fd = -1;
    const char *problem;
    struct stat st;

    problem = module->path[0] == '/' ? open_module(archive, module, &fd, &st) : "it has no path";
    if (problem) {
        if (archive->n_left_out++ < MOST_LEFT_OUT_TOLD)
            log_warning("%s is left out of .libs.zip: %s", module->path, problem);
        return 0;
    }
    return add_file(archive, module->path + 1, fd, &st);
}

/*
 * Makes a loader's name one that an archive may have: relative, without ".", ".." and "//".
 *
 * The loader keeps the ".." of an $ORIGIN/../lib, and gdb asks the sysroot for just that, so every
 * directory that such a name climbs out of has to be there.
 */
static int clean_name(struct archive *archive, const char *name, time_t mtime, char ret[PATH_MAX])
{
    size_t used = 0;
    int r = 0;

    ret[0] = '\0';
    while (r == 0 && *name) {
        size_t length = strcspn(name, "/");

        if (length == 2 && memcmp(name, "..", 2) == 0) {
            if (used > 0 && !has_name(archive, ret)) {
                r = zip_add_directory(archive->zip, ret, S_IFDIR | 0755, mtime);
                if (r == 0)
                    r = remember(archive, ret, 0, 0);
            }
            while (used > 0 && ret[--used] != '/')
                continue;
            ret[used] = '\0';
        } else if (length > 0 && !(length == 1 && name[0] == '.')) {
            used += (size_t)sprintf(ret + used, "%s%.*s", used > 0 ? "/" : "", (int)length, name);
        }
        name += length;
        name += *name == '/';
    }
    return r;
}

/* Stores a file that is in the archive under the loader's name too, where that is another one. */
static int add_link_name(struct archive *archive, const char *name)
{
    _cleanup_close_ int fd = -1;
    char clean[PATH_MAX];
    struct stat st;
    int r;

    if (name[0] != '/') /* the vdso, or relative to a directory that gdb doesn't know either */
        return 0;
    fd = open_regular_in_root(archive->info->root_fd, name, 0);
    if (fd < 0 || fstat(fd, &st) < 0 || !has_inode(archive, st.st_dev, st.st_ino))
        return 0; /* already told where its module was left out */
    r = clean_name(archive, name, st.st_mtime, clean);
    if (r < 0 || has_name(archive, clean))
        return r;
    return add_file(archive, clean, fd, &st);
}

int libs_write(const struct core_info *info, const struct link_names *names, const char *exe_path,
               struct sink *sink)
{
    _cleanup_zip_ struct zip *zip = NULL;
    _cleanup_(free_members) struct archive archive = {.info = info};
    int r;

    r = zip_open(sink, LIBS_LEVEL, &zip);
    archive.zip = zip;
    for (size_t i = info->knows_executable; r == 0 && i < info->n_modules; i++)
        if (!exe_path || strcmp(info->modules[i].path, exe_path) != 0)
            r = add_module(&archive, &info->modules[i]);
    for (size_t at = 0; r == 0 && at < names->size; at += strlen(names->text + at) + 1)
        r = add_link_name(&archive, names->text + at);
    if (archive.n_left_out > MOST_LEFT_OUT_TOLD)
        log_warning("%zu more files are left out of .libs.zip",
                    archive.n_left_out - MOST_LEFT_OUT_TOLD);
    return r < 0 ? r : zip_finish(zip);
}
