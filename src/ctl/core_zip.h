#pragma once

/* .core.zip: one entry, the core. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "bundle/sink.h"
#include "ctl/captured.h"
#include "ctl/deadline.h"

struct core_zip {
    struct captured *captured;
    struct deadline *deadline; /* near it the core is cut, and the archive ended well; NULL: none */
    time_t mtime;
    uint64_t size, written; /* of the core, and of that in the archive */
};

/* The artifact_writer: @context is a struct core_zip, of which size and written are filled in. */
int core_zip_write(void *context, struct sink *sink);

/* Of what was written. */
static inline bool core_zip_is_cut(const struct core_zip *zip)
{
    return zip->written < zip->size;
}
