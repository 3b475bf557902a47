#include "capture/core_layout.h"

#include <string.h>

/* The kernel puts this behind the path of a file that was deleted, or replaced, meanwhile. */
static bool is_same_file(const char *before, const char *after)
{
    const size_t size = strlen(before);

    return strncmp(before, after, size) == 0 &&
           (!after[size] || strcmp(after + size, " (deleted)") == 0);
}

enum core_layout core_layout_compare(const struct core_info *maps, const struct core_info *core)
{
    const struct core_module *executable = core->knows_executable ? &core->modules[0] : NULL;
    enum core_layout layout = CORE_LAYOUT_UNKNOWN;

    for (size_t i = 0; executable && i < maps->n_mappings; i++) {
        const struct core_mapping *mapping = &maps->mappings[i];

        if (mapping->offset != 0 || !is_same_file(mapping->path, executable->path))
            continue;
        if (mapping->start == executable->start)
            return CORE_LAYOUT_SAME;
        layout = CORE_LAYOUT_ELSEWHERE;
    }
    return layout;
}
