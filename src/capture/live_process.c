#include "capture/live_process.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/live_dump_rules.h"
#include "capture/live_notes.h"
#include "capture/live_tables.h"
#include "capture/live_threads.h"
#include "util/cleanup.h"
#include "util/io.h"

/*
 * Opens a file of the process's memory. The crashing thread's directory has it, while the one of a
 * thread group's leader that ended tells of no memory.
 */
static int open_proc(const struct crash_record *record, const char *name)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", record->crash_tid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_memory(struct live_process *process)
{
    struct live_tables *tables = process->tables;
    const struct crash_record *record = tables->record;

    process->mem_fd = record->mem_fd;
    tables->pagemap_fd = record->pagemap_fd;
    if (tables->copy && tables->copy->is_whole) {
        process->mem_fd = tables->copy->fd;
        return 0;
    }
    if (process->mem_fd < 0)
        process->mem_fd = tables->owned_mem_fd = open_proc(record, "mem");
    if (process->mem_fd < 0)
        return process->mem_fd == -ENOENT ? -ESRCH : process->mem_fd;
    if (tables->pagemap_fd < 0)
        tables->pagemap_fd = tables->owned_pagemap_fd = open_proc(record, "pagemap");
    return live_memory_is_gone(process->mem_fd) ? -ESRCH : 0;
}

/*
 * Without the details of smaps, which the kernel counts page by page: a device's mapping is known
 * by its path then.
 */
static void guess_devices(struct live_mappings *mappings)
{
    static const char *const memory[] = {"/dev/zero", "/dev/shm/", "/dev/hugepages/"};

    for (size_t i = 0; i < mappings->count; i++) {
        struct live_mapping *mapping = &mappings->entries[i];
        const char *path = live_mapping_path(mappings, mapping);

        mapping->is_io = strncmp(path, "/dev/", strlen("/dev/")) == 0;
        for (size_t k = 0; k < sizeof(memory) / sizeof(memory[0]); k++)
            if (strncmp(path, memory[k], strlen(memory[k])) == 0)
                mapping->is_io = false;
    }
}

static int read_mappings(struct live_process *process, int fd, struct live_mappings *ret)
{
    int r = live_mappings_read(fd, ret);

    /* The text of a process that is killed meanwhile ends early. */
    if (r == 0 && live_memory_is_gone(process->mem_fd))
        r = -ESRCH;
    return r;
}

/* The process itself goes on, and has other mappings by now. */
static int read_copied_mappings(struct live_process *process)
{
    struct live_tables *tables = process->tables;
    int r = tables->copy->is_whole
                ? 0
                : read_mappings(process, tables->record->smaps_fd, &tables->mappings);

    if (r == 0)
        r = live_mappings_overlay(&tables->mappings, &tables->copy->mappings);
    for (size_t i = 0; r == 0 && i < tables->mappings.count; i++) {
        struct live_mapping *mapping = &tables->mappings.entries[i];

        mapping->is_listed = mapping->is_shared && !mapping->is_copied;
    }
    return r;
}

/* The quick text where it is to be had: the first stack doesn't wait for gigabytes to be counted.
 */
static int list_mappings(struct live_process *process)
{
    struct live_tables *tables = process->tables;
    _cleanup_close_ int fd = tables->copy ? -ENOENT : open_proc(tables->record, "maps");
    int r;

    if (tables->copy)
        return read_copied_mappings(process);
    if (fd < 0)
        return tables->record->smaps_fd < 0
                   ? fd
                   : read_mappings(process, tables->record->smaps_fd, &tables->mappings);
    r = read_mappings(process, fd, &tables->mappings);
    guess_devices(&tables->mappings);
    return r;
}

/* What of the memory can be read in its place: pread(2) knows no negative offsets, and reading a
 * device's memory may make it act. */
static int list_memory(const struct live_mappings *mappings, bool is_in_copy,
                       struct core_memory *ret)
{
    ret->segments = calloc(mappings->count + 1, sizeof(ret->segments[0]));
    if (!ret->segments)
        return -ENOMEM;
    for (size_t i = 0; i < mappings->count; i++) {
        const struct live_mapping *mapping = &mappings->entries[i];

        if (mapping->is_io || mapping->end > INT64_MAX)
            continue;
        ret->segments[ret->n_segments++] = (struct core_segment){
            .start = mapping->start,
            .end = mapping->end,
            .file_offset = mapping->start,
            .file_size = is_in_copy ? mapping->dump_size : mapping->end - mapping->start,
            .executable = mapping->protection & PF_X,
        };
    }
    return 0;
}

static int write_notes(struct live_tables *tables)
{
    tables->notes_fd = memfd_create("notes", MFD_CLOEXEC);
    if (tables->notes_fd < 0)
        return -errno;
    return live_notes_write(tables->record, &tables->mappings, tables->notes_fd,
                            &tables->notes_size);
}

/* What a core's notes don't tell of the files; both tables are by address. */
static void tell_inodes(const struct live_mappings *from, struct core_info *info)
{
    const struct live_mapping *mapping = from->entries, *end = from->entries + from->count;

    for (size_t i = 0; i < info->n_mappings; i++) {
        while (mapping < end && mapping->start < info->mappings[i].start)
            mapping++;
        if (mapping < end && mapping->start == info->mappings[i].start) {
            info->mappings[i].device = mapping->device;
            info->mappings[i].inode = mapping->inode;
        }
    }
}

static int read_info(struct live_process *process)
{
    const struct live_tables *tables = process->tables;
    struct core_memory memory = {0};
    uint64_t at = 0;
    pid_t tid;
    int r;

    r = list_memory(&tables->mappings, tables->copy && tables->copy->is_whole, &memory);
    if (r == 0)
        r = core_info_of_process(tables->notes_fd, tables->notes_size, &memory, process->mem_fd,
                                 tables->record->root_fd, &process->info);
    if (r == 0)
        tell_inodes(&tables->mappings, process->info);
    for (size_t i = 0; r == 0 && i < process->info->n_threads; i++) {
        if (live_notes_next_thread(tables->record->threads_fd, &at, &tid) <= 0)
            break;
        live_thread_name(tables->record, tid, process->info->threads[i].name);
    }
    return r;
}

static int read_details(struct live_process *process)
{
    struct live_tables *tables = process->tables;
    struct live_mappings mappings = {0};
    _cleanup_close_ int own_fd = -1;
    int fd = tables->record->smaps_fd;
    int r;

    if (tables->copy) /* they were listed with all details */
        return 0;
    if (fd < 0)
        fd = own_fd = open_proc(tables->record, "smaps");
    r = fd < 0 ? fd : read_mappings(process, fd, &mappings);
    if (r < 0) {
        live_mappings_free(&mappings);
        return r;
    }
    live_mappings_free(&tables->mappings);
    tables->mappings = mappings;
    return 0;
}

int live_tables_lay_out(struct live_process *process)
{
    struct live_tables *tables = process->tables;
    const struct live_memory memory = live_memory_of(process, false);
    struct live_pages pages = live_pages_of(tables);
    int r;

    if (tables->layout.size > 0)
        return 0;
    r = read_details(process);
    if (r < 0)
        return r;
    live_dump_rules_apply(&tables->mappings, live_dump_filter(tables->record->crash_tid), &memory);
    r = live_layout_add_mappings(&tables->layout, &tables->mappings, &pages);
    if (r < 0)
        return r;
    tables->has_no_scan = pages.has_no_ioctl;
    live_layout_place(&tables->layout, tables->notes_size);
    process->info->file_size = process->info->expected_size = tables->layout.size;
    return 0;
}

struct live_memory live_memory_of(struct live_process *process, bool is_copied)
{
    const struct live_tables *tables = process->tables;

    return (struct live_memory){
        .mem_fd = is_copied ? tables->copy->fd : process->mem_fd,
        .pagemap_fd = is_copied ? -1 : tables->pagemap_fd,
        .unreadable = &process->unreadable,
    };
}

struct live_pages live_pages_of(const struct live_tables *tables)
{
    return (struct live_pages){
        .fd = tables->pagemap_fd,
        .copy_fd = tables->copy ? tables->copy->fd : -1,
        .listed = tables->copy ? tables->copy->shared : NULL,
        .n_listed = tables->copy ? tables->copy->n_shared : 0,
        .has_no_ioctl = tables->has_no_scan,
    };
}

int live_process_open(const struct crash_record *record, const struct process_copy *copy,
                      struct live_process **ret)
{
    _cleanup_live_process_ struct live_process *process = calloc(1, sizeof(*process));
    struct live_tables *tables;
    int r;

    if (!process)
        return -ENOMEM;
    tables = process->tables = calloc(1, sizeof(*tables));
    if (!tables)
        return -ENOMEM;
    tables->record = record;
    tables->copy = copy;
    tables->notes_fd = tables->owned_mem_fd = tables->owned_pagemap_fd = -1;
    r = open_memory(process);
    if (r == 0)
        r = list_mappings(process);
    if (r == 0)
        r = write_notes(tables);
    if (r == 0)
        r = read_info(process);
    if (r < 0)
        return r;
    *ret = take_ptr(process);
    return 0;
}

void live_process_free(struct live_process *process)
{
    if (!process)
        return;
    core_info_free(process->info);
    if (process->tables) {
        live_mappings_free(&process->tables->mappings);
        live_layout_free(&process->tables->layout);
        close_fd(process->tables->notes_fd);
        close_fd(process->tables->owned_mem_fd);
        close_fd(process->tables->owned_pagemap_fd);
    }
    free(process->tables);
    free(process);
}
