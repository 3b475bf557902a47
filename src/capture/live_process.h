#pragma once

/*
 * A process that coreinit holds at its fatal signal, or a snapshot of one: the second source of a
 * core. What the kernel would write is made here from the stopped process, through the descriptors
 * of the crash record, or from a copy of its memory.
 */

#include "capture/core_info.h"
#include "capture/core_source.h"
#include "capture/process_copy.h"
#include "init/crash_record.h"

/* Opaque but for what everyone needs. */
struct live_process {
    struct core_info *info; /* in its memory a segment's file_offset is its address, so that
                               core_memory_read(&info->memory, mem_fd, …) reads the process */
    int mem_fd;             /* the record's, or its own where that has none */
    uint64_t unreadable;    /* bytes that the latest source replaced by zeros, for they couldn't be
                               read */
    struct live_tables *tables;
};

/*
 * Learns all about a held process: threads with names and registers, mappings, modules. How large
 * its core is (info->file_size, expected_size) is known with the first source only: to tell takes
 * the longer the more memory there is, and the stack shall not wait for it.
 *
 * @record  its descriptors stay the record's, and must outlive the process
 * @copy    what was copied of its memory, and lies there and not in the process; NULL for a process
 * that is held. Must outlive the process too
 * @ret     to be freed with live_process_free()
 *
 * Returns 0, -ESRCH (it died meanwhile), -EACCES (its memory is not to be had), -ENOMEM or -errno.
 */
int live_process_open(const struct crash_record *record, const struct process_copy *copy,
                      struct live_process **ret);

/*
 * Opens a stream of the ELF core that the kernel would write (core(5), fs/binfmt_elf.c): the same
 * notes, the same segments, coredump_filter and VM_DONTDUMP honoured. Pages that were never touched
 * are told as zeros, and holes of 64 MiB or more cost nothing: they become a segment without bytes.
 * May be opened again for another reading. Memory that can't be read is zeros too, and is counted
 * in @unreadable.
 *
 * Returns 0, -ESRCH (the process died meanwhile), -ENOMEM or -errno.
 */
int live_core_source(struct live_process *process, struct core_source **ret);

/*
 * Writes a small core of the process, for a debugger where there is no disk for a whole one: the
 * same notes; of memory the stacks, writable data of files, the loader's own tables, and what
 * stacks and registers point at, until @limit bytes are reached. The crashing thread's go first.
 *
 * It is a part of the whole core: what coredump_filter and VM_DONTDUMP leave out isn't there.
 *
 * @limit   bytes of the file
 * @out_fd  a memfd or file, written from its beginning
 *
 * Returns 0, -EFBIG (the notes alone are more than that), -ESRCH, -ENOMEM or -errno.
 */
int live_core_write_small(struct live_process *process, uint64_t limit, int out_fd);

void live_process_free(struct live_process *process);

static inline void cleanup_live_process(struct live_process **process)
{
    live_process_free(*process);
}
#define _cleanup_live_process_ __attribute__((cleanup(cleanup_live_process)))
