#include "capture/live_mappings.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include "util/io.h"

/* vm.max_map_count is 65,530 by default and a million at its most generous. */
#define MOST_MAPPINGS (1u << 21)
#define MOST_PATH_BYTES (64u << 20)

/* A line has a path at most, of which procfs may escape every character. */
struct line_reader {
    int fd;
    uint64_t offset;
    size_t begin, used;
    char buffer[64 * 1024];
};

/* Fetches the next line. Returns 1, 0 at the end, or -errno. */
static int next_line(struct line_reader *reader, char **ret)
{
    for (;;) {
        char *line = reader->buffer + reader->begin;
        char *end = memchr(line, '\n', reader->used - reader->begin);
        ssize_t n;

        if (end) {
            *end = '\0';
            reader->begin = (size_t)(end + 1 - reader->buffer);
            *ret = line;
            return 1;
        }
        reader->used -= reader->begin;
        memmove(reader->buffer, line, reader->used);
        reader->begin = 0;
        if (reader->used == sizeof(reader->buffer))
            return -EBADMSG;
        n = pread_full(reader->fd, reader->buffer + reader->used,
                       sizeof(reader->buffer) - reader->used, reader->offset);
        if (n <= 0)
            return (int)n;
        reader->used += (size_t)n;
        reader->offset += (uint64_t)n;
    }
}

/* Makes room for @wanted elements. Returns 0, -EFBIG or -ENOMEM. */
static int make_room(void *array, size_t *room, size_t wanted, size_t size, size_t most)
{
    size_t larger = *room ? *room : 256;
    void *moved;

    if (wanted <= *room)
        return 0;
    if (wanted > most)
        return -EFBIG;
    while (larger < wanted)
        larger *= 2;
    moved = reallocarray(*(void **)array, larger, size);
    if (!moved)
        return -ENOMEM;
    *(void **)array = moved;
    *room = larger;
    return 0;
}

/* seq_path() of the kernel shows a newline in a path as \012, and nothing else escaped. */
static void unescape(char *path)
{
    char *to = path;

    while (*path) {
        bool is_newline = strncmp(path, "\\012", 4) == 0;

        *to++ = is_newline ? '\n' : *path;
        path += is_newline ? 4 : 1;
    }
    *to = '\0';
}

/* Stores a path; the mappings of one file follow each other. Returns 0, -EFBIG or -ENOMEM. */
static int store_path(struct live_mappings *mappings, const char *path, uint32_t *ret)
{
    const size_t size = strlen(path) + 1;
    const struct live_mapping *last =
        mappings->count ? &mappings->entries[mappings->count - 1] : NULL;
    int r;

    if (last && last->kind == LIVE_FILE && strcmp(mappings->paths + last->path, path) == 0) {
        *ret = last->path;
        return 0;
    }
    r = make_room(&mappings->paths, &mappings->paths_room, mappings->paths_size + size, 1,
                  MOST_PATH_BYTES);
    if (r < 0)
        return r;
    *ret = (uint32_t)mappings->paths_size;
    memcpy(mappings->paths + mappings->paths_size, path, size);
    mappings->paths_size += size;
    return 0;
}

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/*
 * What show_map_vma() of fs/proc/task_mmu.c calls it: a file by its path, the process's own memory
 * by nothing, by its use, or by the name that prctl(2) gave it, the kernel's by its use.
 */
static enum live_mapping_kind kind_of(const char *name, uint64_t inode)
{
    if (inode != 0 || (name[0] != '[' && name[0] != '\0'))
        return LIVE_FILE;
    if (name[0] == '\0' || begins_with(name, "[heap]") || begins_with(name, "[stack") ||
        begins_with(name, "[anon:"))
        return LIVE_ANONYMOUS;
    return LIVE_KERNEL;
}

/* A mapping's first line, as in /proc/PID/maps. */
static int add_mapping(struct live_mappings *mappings, char *line)
{
    struct live_mapping mapping = {0};
    char permissions[5] = "", *name;
    unsigned major, minor;
    int name_at = 0;
    int r;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %lu %n", &mapping.start,
               &mapping.end, permissions, &mapping.offset, &major, &minor, &mapping.inode,
               &name_at) != 7 ||
        name_at == 0 || mapping.start >= mapping.end)
        return -EBADMSG;
    name = line + name_at;
    unescape(name);
    mapping.device = makedev(major, minor);
    mapping.kind = kind_of(name, mapping.inode);
    mapping.protection =
        (uint8_t)((permissions[0] == 'r' ? PF_R : 0) | (permissions[1] == 'w' ? PF_W : 0) |
                  (permissions[2] == 'x' ? PF_X : 0));
    if (mapping.kind == LIVE_FILE) {
        /* Shared memory that prctl(2) named is this file's all the same. */
        r = store_path(mappings, name[0] == '[' ? "/dev/zero (deleted)" : name, &mapping.path);
        if (r < 0)
            return r;
    }
    r = make_room(&mappings->entries, &mappings->room, mappings->count + 1,
                  sizeof(mappings->entries[0]), MOST_MAPPINGS);
    if (r < 0)
        return r;
    mappings->entries[mappings->count++] = mapping;
    return 0;
}

static void add_flags(struct live_mapping *mapping, const char *flags)
{
    static const struct {
        char name[3];
        size_t offset;
    } known[] = {
        {"sh", offsetof(struct live_mapping, is_shared)},
        {"io", offsetof(struct live_mapping, is_io)},
        {"ht", offsetof(struct live_mapping, is_huge)},
        {"dd", offsetof(struct live_mapping, is_dont_dump)},
        {"dc", offsetof(struct live_mapping, is_dont_fork)},
        {"wf", offsetof(struct live_mapping, is_wiped_on_fork)},
    };

    for (flags += strspn(flags, " "); flags[0] && flags[1]; flags += strspn(flags, " ")) {
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            if (memcmp(flags, known[i].name, 2) == 0)
                *(bool *)((char *)mapping + known[i].offset) = true;
        flags += 2;
    }
}

/* A mapping's further lines: "Anonymous:   4 kB". Others than these are left alone. */
static void add_detail(struct live_mapping *mapping, const char *line)
{
    static const char *const anonymous[] = {"Anonymous:", "Swap:"};

    if (begins_with(line, "VmFlags:"))
        add_flags(mapping, line + strlen("VmFlags:"));
    for (size_t i = 0; i < sizeof(anonymous) / sizeof(anonymous[0]); i++)
        if (begins_with(line, anonymous[i]))
            mapping->anonymous += strtoull(line + strlen(anonymous[i]), NULL, 10) * 1024;
}

int live_mappings_read(int smaps_fd, struct live_mappings *ret)
{
    struct line_reader reader = {.fd = smaps_fd};
    struct live_mappings mappings = {0};
    char *line = NULL;
    int r;

    while ((r = next_line(&reader, &line)) > 0) {
        /* The names of details begin with a capital letter. */
        if (!isupper((unsigned char)line[0]))
            r = add_mapping(&mappings, line);
        else if (mappings.count > 0)
            add_detail(&mappings.entries[mappings.count - 1], line);
        else
            r = -EBADMSG;
        if (r < 0)
            break;
    }
    if (r < 0) {
        live_mappings_free(&mappings);
        return r;
    }
    *ret = mappings;
    return 0;
}

const char *live_mapping_path(const struct live_mappings *mappings,
                              const struct live_mapping *mapping)
{
    return mapping->kind == LIVE_FILE ? mappings->paths + mapping->path : "";
}

const struct live_mapping *live_mappings_from(const struct live_mappings *mappings,
                                              uint64_t address)
{
    size_t low = 0, high = mappings->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (mappings->entries[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low < mappings->count ? &mappings->entries[low] : NULL;
}

static int add_from(struct live_mappings *mappings, const struct live_mappings *from,
                    const struct live_mapping *mapping)
{
    struct live_mapping added = *mapping;
    int r = 0;

    if (mapping->kind == LIVE_FILE)
        r = store_path(mappings, live_mapping_path(from, mapping), &added.path);
    if (r == 0)
        r = make_room(&mappings->entries, &mappings->room, mappings->count + 1,
                      sizeof(mappings->entries[0]), MOST_MAPPINGS);
    if (r == 0)
        mappings->entries[mappings->count++] = added;
    return r;
}

int live_mappings_overlay(struct live_mappings *mappings, const struct live_mappings *over)
{
    struct live_mappings merged = {0};
    uint64_t end = 0;
    size_t i = 0, k = 0;
    int r = 0;

    while (r == 0 && (i < mappings->count || k < over->count)) {
        const bool is_over =
            i == mappings->count ||
            (k < over->count && over->entries[k].start <= mappings->entries[i].start);
        const struct live_mappings *from = is_over ? over : mappings;
        const struct live_mapping *mapping = &from->entries[is_over ? k++ : i++];

        if (mapping->start < end)
            continue;
        end = mapping->end;
        r = add_from(&merged, from, mapping);
    }
    if (r < 0) {
        live_mappings_free(&merged);
        return r;
    }
    live_mappings_free(mappings);
    *mappings = merged;
    return 0;
}

void live_mappings_free(struct live_mappings *mappings)
{
    free(mappings->entries);
    free(mappings->paths);
    *mappings = (struct live_mappings){0};
}
