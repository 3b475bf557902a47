/* What is in the spool, where anyone may have put anything. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundle/utf8.h"
#include "store/spool_state.h"
#include "util/child.h"
#include "util/cleanup.h"

#define MOST_NAMES 100000
#define MOST_FILES 20000
#define PATIENCE_NS 10000000000ll

enum file_kind { FILE_ARTIFACT, FILE_PART, FILE_JOURNAL };

/* A file of some bundle. */
struct found {
    file_name id;
    enum file_kind kind;
    bool is_account; /* crash.json */
    uint64_t bytes;
    time_t when;
};

struct search {
    struct spool *spool;
    struct found *files;
    size_t n, room;
    int64_t end; /* CLOCK_MONOTONIC, nanoseconds */
    bool is_cut;
};

/* Takes a suffix off the end. */
static bool cut_suffix(const char *name, size_t *length, const char *suffix)
{
    const size_t size = strlen(suffix);

    if (*length <= size || memcmp(name + *length - size, suffix, size) != 0)
        return false;
    *length -= size;
    return true;
}

/* bundle_id() makes only such. */
static bool is_id(const char *id, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)id[i] < ' ' || id[i] == 0x7f)
            return false;
    return utf8_is_valid(id, length);
}

/* Which bundle's file a name means; false: none's. */
static bool read_name(const char *name, struct found *ret)
{
    size_t length = strlen(name);
    const char *id = name;
    bool is_one = false;

    memset(ret, 0, sizeof(*ret));
    if (journal_is_name(name, &length)) {
        id = name + 1;
        ret->kind = FILE_JOURNAL;
        is_one = true;
    } else {
        ret->kind = cut_suffix(name, &length, PART_SUFFIX) ? FILE_PART : FILE_ARTIFACT;
        for (int kind = 0; kind < ARTIFACT_KINDS && !is_one; kind++) {
            is_one = cut_suffix(name, &length, artifact_suffixes[kind]);
            ret->is_account = kind == ARTIFACT_CRASH_JSON;
        }
    }
    if (!is_one || !is_id(id, length))
        return false;
    memcpy(ret->id, id, length);
    return true;
}

static int keep(struct search *search, const struct found *found)
{
    if (search->n == search->room) {
        const size_t room = search->room ? 2 * search->room : 64;
        struct found *grown = reallocarray(search->files, room, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        search->files = grown;
        search->room = room;
    }
    search->files[search->n++] = *found;
    return 0;
}

static int see(struct search *search, const char *name)
{
    struct spool *spool = search->spool;
    struct found found;
    struct stat file;

    if (!read_name(name, &found) ||
        look_at_own_file(spool->dir_fd, name, spool_uid(spool), &file) < 0)
        return 0; /* or it is gone by now */
    found.bytes = (uint64_t)file.st_size;
    found.when = file.st_mtim.tv_sec;
    return keep(search, &found);
}

static void cleanup_directory(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

static int look_through(struct search *search)
{
    _cleanup_(cleanup_directory) DIR *directory = NULL;
    const struct dirent *entry;
    _cleanup_close_ int fd = openat(search->spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory)
        return -errno;
    (void)take_fd(&fd);
    for (size_t n = 0; r == 0 && !search->is_cut; n++) {
        errno = 0;
        entry = readdir(directory);
        if (!entry)
            return -errno;
        r = see(search, entry->d_name);
        search->is_cut =
            n + 1 >= MOST_NAMES || search->n >= MOST_FILES || monotonic_ns() > search->end;
    }
    return r;
}

static int compare_found(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->id, ((const struct found *)b)->id);
}

static int compare_bundles(const void *a, const void *b)
{
    const struct spool_bundle *left = a, *right = b;

    if (left->when != right->when)
        return left->when < right->when ? -1 : 1;
    return strcmp(left->id, right->id);
}

/* Adds up the files of one id, which are @n of the sorted ones. */
static void add_up(const struct found *files, size_t n, struct spool_bundle *ret)
{
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->id, files->id, sizeof(ret->id));
    for (size_t i = 0; i < n; i++) {
        if (files[i].kind == FILE_JOURNAL)
            continue;
        ret->n_files += files[i].kind == FILE_ARTIFACT;
        ret->n_parts += files[i].kind == FILE_PART;
        ret->is_complete |= files[i].kind == FILE_ARTIFACT && files[i].is_account;
        ret->bytes += files[i].bytes;
        ret->when = files[i].when > ret->when ? files[i].when : ret->when;
    }
}

/* Returns whether it is a bundle. */
static bool read_journal(struct spool *spool, struct spool_bundle *bundle)
{
    struct journal_notes notes;

    bundle->error = journal_peek(spool->dir_fd, bundle->id, spool_uid(spool), &notes);
    bundle->is_ours = bundle->error == -ENOENT;
    if (bundle->error == 0) {
        bundle->crash = notes.crash;
        bundle->is_ours = spool_is_ours(spool, &notes);
        bundle->is_sent = notes.is_sent;
        bundle->is_verified = journal_is_verified(&notes);
    }
    bundle->is_held = spool->id[0] && strcmp(spool->id, bundle->id) == 0;
    return bundle->error != -ENOENT || bundle->is_complete;
}

static int make_list(struct search *search, struct spool_list *ret)
{
    size_t n;

    if (search->n == 0)
        return 0;
    ret->bundles = calloc(search->n, sizeof(*ret->bundles));
    if (!ret->bundles)
        return -ENOMEM;
    qsort(search->files, search->n, sizeof(*search->files), compare_found);
    for (size_t at = 0; at < search->n; at += n) {
        n = 1;
        while (at + n < search->n && compare_found(&search->files[at], &search->files[at + n]) == 0)
            n++;
        add_up(&search->files[at], n, &ret->bundles[ret->n]);
        ret->n += read_journal(search->spool, &ret->bundles[ret->n]);
        if (monotonic_ns() > search->end) {
            search->is_cut = true;
            break;
        }
    }
    qsort(ret->bundles, ret->n, sizeof(*ret->bundles), compare_bundles);
    return 0;
}

int spool_list(struct spool *spool, struct spool_list *ret)
{
    struct search search = {.spool = spool, .end = monotonic_ns() + PATIENCE_NS};
    int r;

    *ret = (struct spool_list){0};
    r = look_through(&search);
    if (r == 0)
        r = make_list(&search, ret);
    ret->is_cut = search.is_cut;
    free(search.files);
    return r;
}

void spool_list_free(struct spool_list *list)
{
    free(list->bundles);
    *list = (struct spool_list){0};
}
