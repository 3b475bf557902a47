/* /proc/PID/maps and smaps, whose paths are the program's choice. */

#include <string.h>

#include "capture/core_info.h"
#include "capture/live_mappings.h"
#include "util/cleanup.h"

#include "fuzz.h"

static void parse_maps(const char *data, size_t size)
{
    _cleanup_close_ int fd = fuzz_file(data, size);
    _cleanup_core_info_ struct core_info *info = NULL;

    if (core_info_from_maps(fd, 0, &info) == 0)
        for (size_t i = 0; i < info->n_mappings; i++)
            fuzz_expect(info->mappings[i].path != NULL);
}

static void check_order(const struct live_mappings *mappings)
{
    for (size_t i = 0; i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];

        fuzz_expect(live_mapping_path(mappings, mapping) != NULL);
        (void)live_mappings_from(mappings, mapping->end);
    }
}

/* Two tables, with a NUL between them, the second laid over the first. */
static void parse_smaps(const char *data, size_t size)
{
    const char *end = memchr(data, '\0', size);
    size_t first = end ? (size_t)(end - data) : size, rest = end ? size - first - 1 : 0;
    _cleanup_close_ int fd = fuzz_file(data, first);
    _cleanup_close_ int over_fd = fuzz_file(data + size - rest, rest);
    struct live_mappings mappings = {0}, over = {0};

    if (live_mappings_read(fd, &mappings) == 0) {
        check_order(&mappings);
        if (live_mappings_read(over_fd, &over) == 0 && live_mappings_overlay(&mappings, &over) == 0)
            check_order(&mappings);
        live_mappings_free(&over);
    }
    live_mappings_free(&mappings);
}

static fuzz_parser *const parsers[] = {parse_maps, parse_smaps};
FUZZ_TARGET(parsers)
