#pragma once

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
