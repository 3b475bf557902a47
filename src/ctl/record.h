#pragma once

#include "capture/core_info.h"
#include "init/crash_record.h"

/*
 * Reads the record that coreinit left in a memfd, and distrusts it: COREINIT_CORECTL may pair two
 * builds.
 *
 * @ret  every text in it is terminated, and its descriptors are close-on-exec
 *
 * Returns 0, -EBADMSG (another version's, or no record at all) or -errno; logged.
 */
int record_read(int fd, struct crash_record *ret);

/*
 * Begins the record of a process that lives, for a snapshot: empty, with no descriptors, and of
 * this moment.
 */
void record_begin(struct crash_record *record, pid_t pid);

/* Fills in what procfs tells of the process now: all that a held one's record has. */
void record_look(struct crash_record *record);

/* Closes a record's descriptors. */
void record_close(struct crash_record *record);

/*
 * PID 1 looks only now and then. What it saw of the process before an execve, or of another one
 * that had the same pid, is taken out of the record. At a process that is held it looked just then.
 *
 * @info  of the core, or NULL where there is none
 */
void record_doubt_witness(struct crash_record *record, const struct core_info *info);
