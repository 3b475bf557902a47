/* corectl collect: the steps of a crash from the record to the bundle. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "ctl/collection.h"
#include "ctl/commands.h"
#include "ctl/privileges.h"
#include "ctl/record.h"
#include "ctl/sweep.h"
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
    return record->is_report || (!record->appeared[0] && record->wait_code != CLD_EXITED);
}

static int send_left(const struct crash_settings *settings, const char *id)
{
    const struct progress silent = {0};
    struct sweep sweep;

    privileges_keep_for_sweeping();
    if (sweep_begin(&sweep, settings, &silent) == 0 &&
        sweep_open(&sweep, settings->cores_dir) == 0) {
        sweep.removes_sent = settings->keep_local != KEEP_ALWAYS;
        (void)sweep_bundle(&sweep, id, ALL_KINDS);
    }
    return sweep_end(&sweep);
}

/* Learns what there is. Returns whether it is a crash, or to be told as one. */
static bool look(struct collection *collection)
{
    struct crash_record *record = collection->record;

    if (record->is_brief) {
        snprintf(collection->bundle.no_core, sizeof(collection->bundle.no_core),
                 record->n_crashes > 1 ? "it is crash %u of the last hour: crash.json is all that "
                                         "is made of it"
                                       : "crash.json is all that is made of it",
                 record->n_crashes);
        captured_open_unwanted(record, &collection->captured);
        return true;
    }
    /* What the attempt before began is to be ended in any case. */
    if (collection_open(collection) < 0 && !delivery_has(&collection->delivery, ARTIFACT_CORE) &&
        !is_crash_without_core(collection) && !collection->delivery.is_adopted)
        return false;
    collection_read(collection);
    return true;
}

/* @left_id: of a bundle that has to be ended and sent, no more; "" where it isn't so. */
static int collect(struct crash_record *record, struct deadline *deadline, char left_id[256])
{
    _cleanup_(collection_free) struct collection collection;
    const bool is_second = record->attempt > 1;
    int r = 0;

    collection_begin(&collection, record, deadline);
    if (is_second) /* what the first left tells where the core is */
        r = collection_find_place(&collection);
    if (!look(&collection))
        return 0;
    if (!is_second)
        r = collection_find_place(&collection);
    if (r < 0) {
        captured_tell_fate(&collection.captured);
        return r;
    }
    if (!collection_is_left(&collection))
        return collection_make(&collection);
    collection_complete_left(&collection);
    memcpy(left_id, collection.bundle.id, sizeof(collection.bundle.id));
    return 0;
}

static int run(struct crash_record *record)
{
    struct deadline *deadline = NULL;
    char left_id[256] = "";
    int r = deadline_start(&record->settings, &deadline);

    if (r < 0)
        log_errno(r, "a deadline can't be kept: no thread"); /* coreinit keeps it */
    r = collect(record, deadline, left_id);
    deadline_stop(deadline);
    if (left_id[0])
        return send_left(&record->settings, left_id);
    return r == -EAGAIN ? EX_TEMPFAIL : r < 0;
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
    privileges_keep_for_collecting();
    return run(&record);
}
