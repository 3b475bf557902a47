/* corectl collect: the steps of a crash from the record to the bundle. */

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "ctl/collection.h"
#include "ctl/commands.h"
#include "ctl/record.h"
#include "util/cleanup.h"
#include "util/log.h"

/*
 * Says that there is no core. Returns whether there was a crash all the same: an exit status, or a
 * file, is hearsay.
 */
static bool is_crash_without_core(const struct collection *collection)
{
    const struct crash_record *record = collection->record;

    if (record->appeared[0])
        log_info("%s is not bundled: %s", record->appeared, collection->bundle.no_core);
    else if (record->wait_code == CLD_EXITED)
        log_info("pid %d ended with status %d, as a shell does whose child crashed, but there is "
                 "no new core: %s",
                 record->pid, record->wait_status, collection->bundle.no_core);
    else
        log_error("pid %d left no core: %s", record->pid, collection->bundle.no_core);
    return !record->appeared[0] && record->wait_code != CLD_EXITED;
}

static int collect(struct crash_record *record)
{
    _cleanup_(collection_free) struct collection collection;
    int r;

    collection_begin(&collection, record);
    if (captured_open(record, NULL, &collection.bundle, &collection.captured) < 0 &&
        !is_crash_without_core(&collection))
        return 0;
    collection_read(&collection);
    r = collection_find_place(&collection);
    if (r < 0) {
        captured_tell_fate(&collection.captured);
        return r;
    }
    return collection_make(&collection);
}

int command_collect(int argc, char **argv)
{
    static const struct option options[] = {{"record-fd", required_argument, NULL, 'r'}, {0}};
    static struct crash_record record;
    char *end = "";
    long fd = -1;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) == 'r')
        fd = strtol(optarg, &end, 10);
    if (c != -1 || optind < argc || fd < 0 || *end || fd > INT_MAX) {
        log_error("usage: corectl collect --record-fd N; coreinit calls this after a crash");
        return 1;
    }
    if (record_read((int)fd, &record) < 0)
        return 1;
    log_max_level = record.settings.log_level;
    return collect(&record) < 0;
}
