#include "bundle/link_names.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#define MOST_PROGRAM_HEADERS 128
#define MOST_DYNAMIC_TAGS 256
#define MOST_LINKS 16384

#define PAGE_SIZE_MIN 4096

struct core {
    const struct core_info *info;
    int fd;
};

/* Why something can't be read makes no difference here. */
static int read_at(const struct core *core, uint64_t address, void *ret, size_t size)
{
    int r = core_memory_read(&core->info->memory, core->fd, address, ret, size);

    return r < 0 ? -ENODATA : 0;
}

/* Reads page by page, as the page behind the text may be missing. Returns 0 or -ENODATA. */
static int read_name(const struct core *core, uint64_t address, char ret[PATH_MAX])
{
    for (size_t used = 0; used < PATH_MAX;) {
        size_t part = PAGE_SIZE_MIN - address % PAGE_SIZE_MIN;
        int r;

        if (part > PATH_MAX - used)
            part = PATH_MAX - used;
        r = read_at(core, address, ret + used, part);
        if (r < 0)
            return r;
        if (memchr(ret + used, '\0', part))
            return 0;
        used += part;
        address += part;
    }
    return -ENODATA;
}

/* Finds a mapped file's PT_DYNAMIC. Returns its address, 0 where there is none to be read. */
static uint64_t find_dynamic(const struct core *core, const struct core_module *module)
{
    ElfW(Phdr) segment;
    ElfW(Ehdr) header;

    if (read_at(core, module->start, &header, sizeof(header)) < 0 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    for (size_t i = 0; i < header.e_phnum && i < MOST_PROGRAM_HEADERS; i++) {
        uint64_t at = module->start + header.e_phoff + i * sizeof(segment);

        if (read_at(core, at, &segment, sizeof(segment)) < 0)
            return 0;
        if (segment.p_type == PT_DYNAMIC)
            return module->bias + segment.p_vaddr;
    }
    return 0;
}

/* What the loader left in DT_DEBUG, which linkers put into executables only: the address of its
 * struct r_debug, or 0. */
static uint64_t find_debug(const struct core *core, const struct core_module *module)
{
    uint64_t at = find_dynamic(core, module);
    ElfW(Dyn) tag;

    for (size_t i = 0; at != 0 && i < MOST_DYNAMIC_TAGS; i++) {
        if (read_at(core, at + i * sizeof(tag), &tag, sizeof(tag)) < 0 || tag.d_tag == DT_NULL)
            return 0;
        if (tag.d_tag == DT_DEBUG)
            return tag.d_un.d_ptr;
    }
    return 0;
}

int link_names_each(const struct core_info *info, int core_fd,
                    int (*each)(const char *name, void *context), void *context)
{
    const struct core core = {.info = info, .fd = core_fd};
    struct link_map link;
    struct r_debug debug = {0};
    uint64_t at = 0;
    int r;

    for (size_t i = 0; i < info->n_modules && at == 0; i++)
        at = find_debug(&core, &info->modules[i]);
    if (at == 0)
        return -ENODATA;
    r = read_at(&core, at, &debug, sizeof(debug));

    at = (uintptr_t)debug.r_map;
    for (size_t i = 0; r == 0 && at != 0 && i < MOST_LINKS; i++) {
        char name[PATH_MAX];

        r = read_at(&core, at, &link, sizeof(link));
        if (r == 0 && read_name(&core, (uintptr_t)link.l_name, name) == 0 && name[0] != '\0')
            r = each(name, context);
        at = (uintptr_t)link.l_next;
    }
    return r;
}
