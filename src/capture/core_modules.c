#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture/core_mappings.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"

/* Far more than any program loads; a garbled core may name any number. */
#define MOST_MODULES 4096

static int compare_by_path(const void *left, const void *right)
{
    const struct core_mapping *const *a = left, *const *b = right;
    int order = strcmp((*a)->path, (*b)->path);

    if (order != 0)
        return order;
    return (*a)->start < (*b)->start ? -1 : (*a)->start > (*b)->start;
}

static int compare_by_start(const void *left, const void *right)
{
    const struct core_module *a = left, *b = right;

    return a->start < b->start ? -1 : a->start > b->start;
}

static int identify_file(const struct core_info *info, const char *path, struct elf_image *ret)
{
    _cleanup_close_ int fd = open_regular_in_root(info->root_fd, path, 0);

    return fd < 0 ? fd : elf_image_of_file(fd, ret);
}

/*
 * The loader maps a file from its beginning, with code behind that. The same file may be mapped as
 * data too, in parts or whole: symbolizers (libbacktrace in Fluent Bit) read it so.
 *
 * @mappings  all of one file, by address
 *
 * Returns the loader's mapping of the beginning, or NULL.
 */
static const struct core_mapping *find_beginning(const struct core_mapping *const *mappings,
                                                 size_t count, bool *ret_has_code)
{
    const struct core_mapping *first = NULL, *latest = NULL;

    *ret_has_code = false;
    for (size_t i = 0; i < count && !*ret_has_code; i++) {
        if (mappings[i]->offset == 0)
            latest = mappings[i];
        if (!first)
            first = latest;
        *ret_has_code = latest && mappings[i]->executable;
    }
    return *ret_has_code ? latest : first;
}

/*
 * Tells whether a file is an ELF file, and which. Where neither core nor disk have its header, that
 * it has code decides.
 */
static bool identify(const struct core_info *info, int core_fd,
                     const struct core_mapping *beginning, bool has_code, struct core_module *ret)
{
    struct elf_image image;
    int r = -ENODATA;

    if (core_fd >= 0)
        r = elf_image_of_core(&info->memory, core_fd, beginning->start, &image);
    if (r < 0 && r != -ENOEXEC)
        r = identify_file(info, beginning->path, &image);
    if (r == -ENOEXEC || (r < 0 && !has_code))
        return false;
    if (r < 0)
        image = (struct elf_image){0};

    *ret = (struct core_module){.path = beginning->path, .start = beginning->start};
    ret->bias = beginning->start - image.first_address;
    memcpy(ret->build_id, image.build_id, sizeof(ret->build_id));
    return true;
}

/* Puts the executable before the others, which keep their order. */
static void executable_first(struct core_info *info, uint64_t address)
{
    const struct core_mapping *mapping = core_info_find_mapping(info, address);

    for (size_t i = 0; mapping && i < info->n_modules; i++) {
        const struct core_module executable = info->modules[i];

        if (strcmp(executable.path, mapping->path) != 0)
            continue;
        memmove(&info->modules[1], &info->modules[0], i * sizeof(executable));
        info->modules[0] = executable;
        info->knows_executable = true;
        return;
    }
}

int core_modules_find(int core_fd, uint64_t executable_address, struct core_info *info)
{
    _cleanup_free_ const struct core_mapping **by_path = NULL;
    size_t end;

    by_path = calloc(info->n_mappings + 1, sizeof(by_path[0]));
    info->modules = calloc(info->n_mappings + 1, sizeof(info->modules[0]));
    if (!by_path || !info->modules)
        return -ENOMEM;
    for (size_t i = 0; i < info->n_mappings; i++)
        by_path[i] = &info->mappings[i];
    qsort(by_path, info->n_mappings, sizeof(by_path[0]), compare_by_path);

    for (size_t first = 0; first < info->n_mappings && info->n_modules < MOST_MODULES;
         first = end) {
        const struct core_mapping *beginning;
        bool has_code;

        for (end = first + 1; end < info->n_mappings; end++)
            if (strcmp(by_path[end]->path, by_path[first]->path) != 0)
                break;
        beginning = find_beginning(&by_path[first], end - first, &has_code);
        if (beginning &&
            identify(info, core_fd, beginning, has_code, &info->modules[info->n_modules]))
            info->n_modules++;
    }
    qsort(info->modules, info->n_modules, sizeof(info->modules[0]), compare_by_start);
    if (executable_address != 0)
        executable_first(info, executable_address);
    return 0;
}
