#pragma once

#include "bundle/crash_json.h"

/*
 * Opens the executable that ran: what PID 1 held open, else the core's own record of it, else the
 * path that procfs told; the first whose build-id is the core's.
 *
 * Returns a descriptor (the caller's), or -errno with the reason logged.
 */
int executable_open(const struct bundle *bundle);
