/* An ELF core, and the memory in it: what a program may have made of both. */

#include <link.h>

#include "bundle/link_names.h"
#include "capture/build_id.h"
#include "capture/core_info.h"
#include "capture/loader_list.h"
#include "util/cleanup.h"

#include "fuzz.h"

static void walk_loader_list(const struct core_info *info, int fd)
{
    struct loader_list list;
    struct link_map entry;
    uint64_t at;

    if (loader_list_begin(info, fd, &list) == 0)
        while (loader_list_next(&list, &at, &entry) > 0)
            continue;
}

static void parse_core(const char *data, size_t size)
{
    _cleanup_close_ int fd = fuzz_file(data, size);
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_link_names_ struct link_names names = {0};

    if (core_info_read(fd, &info) < 0)
        return;
    fuzz_expect(info->file_size == size);
    for (size_t i = 0; i < info->n_modules; i++)
        fuzz_expect(info->modules[i].path != NULL);
    for (size_t i = 1; i < info->n_mappings; i++)
        (void)core_info_find_mapping(info, info->mappings[i].end);
    walk_loader_list(info, fd);
    if (link_names_read(info, fd, &names) == 0 && names.size > 0)
        fuzz_expect(names.text[names.size - 1] == '\0');
}

static void parse_elf_file(const char *data, size_t size)
{
    _cleanup_close_ int fd = fuzz_file(data, size);
    char id[2 * BUILD_ID_MAX + 1];
    struct elf_image image;

    (void)elf_image_of_file(fd, &image);
    (void)build_id_of_file(fd, id, sizeof(id));
}

static fuzz_parser *const parsers[] = {parse_core, parse_elf_file};
FUZZ_TARGET(parsers)
