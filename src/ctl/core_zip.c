#include "ctl/core_zip.h"

#include <sys/stat.h>

#include "bundle/zip.h"
#include "util/log.h"

/* zlib's fastest: cores are mostly zeros and pointers, and a dying container has no time. The same
 * core always gives the same archive, so that an upload of it can be resumed. */
#define ZIP_LEVEL 1

static int write_entry(struct core_zip *job, struct core_source *source, struct zip *zip)
{
    struct core_run run;
    int r = 0;

    while (!deadline_is_near(job->deadline) && (r = source->next(source, &run)) > 0) {
        r = run.data ? zip_write(zip, run.data, (size_t)run.size) : zip_write_zeros(zip, run.size);
        if (r < 0)
            return r;
        job->written += run.size;
        r = 0;
    }
    return r;
}

int core_zip_write(void *context, struct sink *sink)
{
    struct core_zip *job = context;
    _cleanup_core_source_ struct core_source *source = NULL;
    _cleanup_zip_ struct zip *zip = NULL;
    int r;

    r = captured_source(job->captured, &source);
    if (r < 0)
        return log_errno(r, "cannot read the core");
    job->size = source->size;
    job->written = 0;
    r = zip_open(sink, ZIP_LEVEL, &zip);
    if (r == 0)
        r = zip_entry_begin(zip, "core", S_IFREG | 0600, job->mtime, source->size);
    if (r == 0)
        r = write_entry(job, source, zip);
    if (r == 0)
        r = zip_entry_end(zip);
    if (r == 0)
        r = zip_finish(zip);
    return r;
}
