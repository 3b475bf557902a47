#pragma once

/* The notes of a held process's core: write_note_info() of the kernel's fs/binfmt_elf.c. */

#include <stdint.h>
#include <sys/types.h>

#include "capture/live_mappings.h"
#include "init/crash_record.h"

/*
 * Writes the notes in the kernel's order: the crashing thread's NT_PRSTATUS, NT_PRPSINFO,
 * NT_SIGINFO, NT_AUXV, NT_FILE, the thread's other registers, the other threads.
 *
 * NT_FILE is left out where it would take more than 16 MiB; the kernel's own bound is 4 MiB.
 *
 * @out_fd    is written from its position on
 * @ret_size  bytes
 *
 * Returns 0, -ENODATA (the record has no threads), -EBADMSG (its threads make no sense), -ENOMEM or
 * -errno.
 */
int live_notes_write(const struct crash_record *record, const struct live_mappings *mappings,
                     int out_fd, uint64_t *ret_size);

/*
 * Tells the threads of a record one by one, in the order of their notes.
 *
 * @at  0 to begin with; is advanced
 *
 * Returns 1 with a thread's id as coreinit sees it, 0 at the end, -EBADMSG or -errno.
 */
int live_notes_next_thread(int threads_fd, uint64_t *at, pid_t *ret);
