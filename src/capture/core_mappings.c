#include "capture/core_mappings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util/cleanup.h"
#include "util/io.h"

/* The kernel's own bound for NT_FILE (sysctl kernel.core_file_note_size_limit). */
#define MOST_NOTE_BYTES (16u << 20)

/* A quarter of a million mappings, with room. */
#define MOST_MAPS_BYTES (64u << 20)

/* NT_FILE: two numbers, that many entries, then their paths, NUL-terminated, in the same order. */
struct file_note_head {
    uint64_t count;
    uint64_t page_size;
};

struct file_note_entry {
    uint64_t start, end;
    uint64_t page_offset;
};

static int compare_mappings(const void *left, const void *right)
{
    const struct core_mapping *a = left, *b = right;

    return a->start < b->start ? -1 : a->start > b->start;
}

int core_mappings_from_note(int core_fd, uint64_t at, size_t size, struct core_info *info)
{
    struct file_note_head head;
    _cleanup_free_ char *note = NULL;
    const char *path, *end;
    ssize_t n;

    if (size < sizeof(head) || info->mappings)
        return -EINVAL;
    if (size > MOST_NOTE_BYTES)
        return -EFBIG;
    note = malloc(size);
    if (!note)
        return -ENOMEM;
    n = pread_full(core_fd, note, size, at);
    if (n < 0)
        return (int)n;
    if ((size_t)n < size)
        return -ENODATA;

    memcpy(&head, note, sizeof(head));
    if (head.count > (size - sizeof(head)) / sizeof(struct file_note_entry))
        return -EINVAL;
    info->mappings = calloc(head.count + 1, sizeof(info->mappings[0]));
    if (!info->mappings)
        return -ENOMEM;

    path = note + sizeof(head) + head.count * sizeof(struct file_note_entry);
    end = note + size;
    for (size_t i = 0; i < head.count; i++) {
        const char *terminator = memchr(path, '\0', (size_t)(end - path));
        const struct core_segment *segment;
        struct file_note_entry entry;

        if (!terminator)
            break;
        memcpy(&entry, note + sizeof(head) + i * sizeof(entry), sizeof(entry));
        segment = core_memory_find(&info->memory, entry.start);
        info->mappings[info->n_mappings++] = (struct core_mapping){
            .start = entry.start,
            .end = entry.end,
            .offset = entry.page_offset * head.page_size,
            .executable = segment && segment->executable,
            .path = path,
        };
        path = terminator + 1;
    }
    qsort(info->mappings, info->n_mappings, sizeof(info->mappings[0]), compare_mappings);
    info->paths = take_ptr(note);
    return 0;
}

/* Reads a whole file of unknown size, NUL-terminated. */
static int read_text(int fd, char **ret)
{
    _cleanup_free_ char *text = NULL;
    size_t size = 64 * 1024;

    for (;;) {
        char *larger = realloc(text, size);
        ssize_t n;

        if (!larger)
            return -ENOMEM;
        text = larger;
        n = pread_full(fd, text, size - 1, 0);
        if (n < 0)
            return (int)n;
        if ((size_t)n < size - 1) {
            text[n] = '\0';
            *ret = take_ptr(text);
            return 0;
        }
        if (size >= MOST_MAPS_BYTES)
            return -EFBIG;
        size *= 4;
    }
}

/* seq_path() of the kernel shows a newline in a path as \012, and nothing else escaped. */
static void unescape(char *path)
{
    char *to = path;

    while (*path) {
        if (strncmp(path, "\\012", 4) == 0) {
            *to++ = '\n';
            path += 4;
        } else {
            *to++ = *path++;
        }
    }
    *to = '\0';
}

/* Parses one line of maps. Returns false where it has no file's path. */
static bool parse_line(char *line, struct core_mapping *ret)
{
    unsigned long long start, end, offset, inode;
    unsigned major, minor;
    char permissions[5];
    int path_at = 0;

    if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset, &major,
               &minor, &inode, &path_at) != 7 ||
        path_at == 0 || line[path_at] != '/')
        return false;
    unescape(line + path_at);
    *ret = (struct core_mapping){
        .start = start,
        .end = end,
        .offset = offset,
        .executable = strchr(permissions, 'x') != NULL,
        .path = line + path_at,
        .device = makedev(major, minor),
        .inode = inode,
    };
    return true;
}

int core_mappings_from_maps(int maps_fd, struct core_info *info)
{
    char *rest, *line;
    size_t lines = 1;
    int r;

    r = read_text(maps_fd, &info->paths);
    if (r < 0)
        return r;
    for (const char *at = info->paths; (at = strchr(at, '\n')); at++)
        lines++;
    info->mappings = calloc(lines, sizeof(info->mappings[0]));
    if (!info->mappings)
        return -ENOMEM;
    rest = info->paths;
    while ((line = strsep(&rest, "\n")))
        if (parse_line(line, &info->mappings[info->n_mappings]))
            info->n_mappings++;
    qsort(info->mappings, info->n_mappings, sizeof(info->mappings[0]), compare_mappings);
    return 0;
}

const struct core_mapping *core_info_find_mapping(const struct core_info *info, uint64_t address)
{
    size_t low = 0, high = info->n_mappings;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct core_mapping *mapping = &info->mappings[middle];

        if (address < mapping->start)
            high = middle;
        else if (address >= mapping->end)
            low = middle + 1;
        else
            return mapping;
    }
    return NULL;
}
