#include "capture/live_dump_rules.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/io.h"

/* Bits of coredump_filter. */
enum {
    PRIVATE_ANONYMOUS = 1 << 0,
    SHARED_ANONYMOUS = 1 << 1,
    PRIVATE_FILES = 1 << 2,
    SHARED_FILES = 1 << 3,
    ELF_HEADERS = 1 << 4,
    PRIVATE_HUGE = 1 << 5,
    SHARED_HUGE = 1 << 6,
};

/* Shared memory up to here is read whole: that may make pages, but another process may have filled
 * them, which this one's page tables don't tell. */
#define MOST_SHARED_MADE (64ull << 20)

unsigned live_dump_filter(pid_t tid)
{
    char path[48], text[16];

    snprintf(path, sizeof(path), "/proc/%d/coredump_filter", tid);
    if (read_text_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
        return DUMP_FILTER_DEFAULT;
    return (unsigned)strtoul(text, NULL, 16);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text), end_size = strlen(end);

    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* /dev/zero, memfd_create(2), shmget(2) and what someone removed: i_nlink is 0. */
static bool is_without_links(const char *path)
{
    return ends_with(path, " (deleted)");
}

static bool is_elf(const struct live_memory *memory, uint64_t address)
{
    char magic[SELFMAG];

    return live_memory_read(memory, address, magic, sizeof(magic), true) == sizeof(magic) &&
           memcmp(magic, ELFMAG, sizeof(magic)) == 0;
}

static uint64_t dump_size(const struct live_mapping *mapping, const char *path, unsigned filter,
                          const struct live_memory *memory)
{
    const uint64_t whole = mapping->end - mapping->start;

    if (mapping->kind == LIVE_KERNEL)
        return whole;
    if (mapping->is_dont_dump)
        return 0;
    if (mapping->is_huge)
        return filter & (mapping->is_shared ? SHARED_HUGE : PRIVATE_HUGE) ? whole : 0;
    if (mapping->is_io)
        return 0;
    if (mapping->is_shared)
        return filter & (is_without_links(path) ? SHARED_ANONYMOUS : SHARED_FILES) ? whole : 0;
    if (mapping->anonymous > 0 && (filter & PRIVATE_ANONYMOUS))
        return whole;
    if (mapping->kind != LIVE_FILE)
        return 0;
    if (filter & PRIVATE_FILES)
        return whole;
    if ((filter & ELF_HEADERS) && mapping->offset == 0 && (mapping->protection & PF_R) &&
        is_elf(memory, mapping->start))
        return live_page_size();
    return 0;
}

static enum live_reading reading(const struct live_mapping *mapping, const char *path)
{
    const bool is_in_memory = is_without_links(path) || strncmp(path, "/dev/shm/", 9) == 0;

    if (mapping->kind == LIVE_KERNEL)
        return LIVE_LENIENT; /* [vvar] can't be read by anyone else */
    if (mapping->kind == LIVE_ANONYMOUS || mapping->is_huge)
        return LIVE_TOUCHED;
    if (is_in_memory && mapping->end - mapping->start > MOST_SHARED_MADE)
        return LIVE_TOUCHED;
    return LIVE_WHOLE;
}

void live_dump_rules_apply(struct live_mappings *mappings, unsigned filter,
                           const struct live_memory *memory)
{
    for (size_t i = 0; i < mappings->count; i++) {
        struct live_mapping *mapping = &mappings->entries[i];
        const char *path = live_mapping_path(mappings, mapping);

        if (mapping->is_copied) /* what belongs to the core was decided then */
            continue;
        mapping->dump_size = dump_size(mapping, path, filter, memory);
        mapping->reading = reading(mapping, path);
    }
}
