#include "capture/loader_list.h"

#include <errno.h>
#include <string.h>

#define MOST_PROGRAM_HEADERS 128
#define MOST_LINKS 16384

/* Why something can't be read makes no difference here. */
static int read_at(const struct loader_list *list, uint64_t address, void *ret, size_t size)
{
    int r = core_memory_read(&list->info->memory, list->memory_fd, address, ret, size);

    return r < 0 ? -ENODATA : 0;
}

/* Finds a mapped file's PT_DYNAMIC. Returns its address, 0 where there is none to be read. */
static uint64_t find_dynamic(const struct loader_list *list, const struct core_module *module)
{
    ElfW(Phdr) segment;
    ElfW(Ehdr) header;

    if (read_at(list, module->start, &header, sizeof(header)) < 0 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    for (size_t i = 0; i < header.e_phnum && i < MOST_PROGRAM_HEADERS; i++) {
        uint64_t at = module->start + header.e_phoff + i * sizeof(segment);

        if (read_at(list, at, &segment, sizeof(segment)) < 0)
            return 0;
        if (segment.p_type == PT_DYNAMIC)
            return module->bias + segment.p_vaddr;
    }
    return 0;
}

/* What the loader left in DT_DEBUG, which linkers put into executables only: the address of its
 * struct r_debug, or 0. */
static uint64_t find_debug(const struct loader_list *list)
{
    ElfW(Dyn) tag;

    for (size_t i = 0; list->dynamic != 0 && i < LOADER_LIST_TAGS; i++) {
        if (read_at(list, list->dynamic + i * sizeof(tag), &tag, sizeof(tag)) < 0 ||
            tag.d_tag == DT_NULL)
            return 0;
        if (tag.d_tag == DT_DEBUG)
            return tag.d_un.d_ptr;
    }
    return 0;
}

int loader_list_begin(const struct core_info *info, int memory_fd, struct loader_list *ret)
{
    struct r_debug debug;

    *ret = (struct loader_list){.info = info, .memory_fd = memory_fd, .left = MOST_LINKS};
    for (size_t i = 0; i < info->n_modules && ret->debug == 0; i++) {
        ret->dynamic = find_dynamic(ret, &info->modules[i]);
        ret->debug = find_debug(ret);
    }
    if (ret->debug == 0 || read_at(ret, ret->debug, &debug, sizeof(debug)) < 0)
        return -ENODATA;
    ret->next = (uintptr_t)debug.r_map;
    return 0;
}

int loader_list_next(struct loader_list *list, uint64_t *ret_at, struct link_map *ret)
{
    if (list->next == 0 || list->left-- == 0)
        return 0;
    *ret_at = list->next;
    if (read_at(list, list->next, ret, sizeof(*ret)) < 0)
        return -ENODATA;
    list->next = (uintptr_t)ret->l_next;
    return 1;
}
