/* corectl collect: the steps of a crash from the record to the bundle. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle/container.h"
#include "bundle/libs.h"
#include "bundle/zip.h"
#include "capture/kernel_core.h"
#include "ctl/commands.h"
#include "ctl/delivery.h"
#include "ctl/executable.h"
#include "ctl/record.h"
#include "ctl/stacktrace.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* zlib's fastest: cores are mostly zeros and pointers, and a dying container has no time. */
#define ZIP_LEVEL 1

/* The context of the steps. */
struct collection {
    struct crash_record *record;
    struct bundle bundle;
    struct delivery delivery;
    struct kernel_core *core;    /* NULL: none was found */
    struct core_info *maps_info; /* where there is no core */
    struct stacktrace trace;
    int exe_fd;
};

static int write_fd(void *context, struct sink *sink)
{
    const int *fd = context;
    char buffer[64 * 1024];
    uint64_t at = 0;
    ssize_t n;
    int r;

    while ((n = pread_full(*fd, buffer, sizeof(buffer), at)) > 0) {
        r = sink_write(sink, buffer, (size_t)n);
        if (r < 0)
            return r;
        at += (uint64_t)n;
    }
    return (int)n;
}

static int write_core_entry(struct zip *zip, struct core_source *source)
{
    struct core_run run;
    int r;

    while ((r = source->next(source, &run)) > 0) {
        r = run.data ? zip_write(zip, run.data, (size_t)run.size) : zip_write_zeros(zip, run.size);
        if (r < 0)
            return r;
    }
    return r;
}

static int write_core_zip(void *context, struct sink *sink)
{
    struct collection *collection = context;
    _cleanup_core_source_ struct core_source *source = NULL;
    _cleanup_zip_ struct zip *zip = NULL;
    int r;

    r = kernel_core_source(collection->core, &source);
    if (r < 0)
        return log_errno(r, "cannot read the core %s", collection->core->path);
    r = zip_open(sink, ZIP_LEVEL, &zip);
    if (r == 0)
        r = zip_entry_begin(zip, "core", S_IFREG | 0600, collection->record->ended_realtime.tv_sec,
                            source->size);
    if (r == 0)
        r = write_core_entry(zip, source);
    if (r == 0)
        r = zip_entry_end(zip);
    if (r == 0)
        r = zip_finish(zip);
    return r;
}

static int write_libs(void *context, struct sink *sink)
{
    const struct collection *collection = context;
    const struct core_info *info = collection->bundle.info;
    const char *exe_path = info->knows_executable ? info->modules[0].path : collection->record->exe;

    return libs_write(info, collection->core ? collection->core->fd : -1, exe_path, "", sink);
}

static void missing(struct collection *collection, enum artifact_kind kind, const char *why)
{
    struct artifact *artifact = &collection->bundle.artifacts[kind];

    snprintf(artifact->error, sizeof(artifact->error), "%s", why);
}

/* Finds the core, or learns what there is without it. */
static int find_core(struct collection *collection)
{
    struct bundle *bundle = &collection->bundle;
    int r = kernel_core_find(collection->record, &collection->core, bundle->no_core,
                             sizeof(bundle->no_core));

    if (r == 0) {
        bundle->capture_source = "kernel";
        bundle->info = collection->core->info;
        record_doubt_witness(collection->record, bundle->info);
        log_notice("the core is %s, %llu bytes%s", collection->core->path,
                   (unsigned long long)bundle->info->file_size,
                   bundle->info->truncated ? ", truncated" : "");
        if (bundle->info->truncated)
            log_warning("the core is truncated: %llu of %llu bytes; a larger core limit and more "
                        "room where core_pattern points would keep it whole",
                        (unsigned long long)bundle->info->file_size,
                        (unsigned long long)bundle->info->expected_size);
        return 0;
    }
    if (r != -ENOENT)
        snprintf(bundle->no_core, sizeof(bundle->no_core), "the core cannot be used: %s",
                 strerrordesc_np(-r));
    bundle->capture_source = "none";
    record_doubt_witness(collection->record, NULL);
    if (collection->record->maps_fd >= 0 &&
        core_info_from_maps(collection->record->maps_fd, &collection->maps_info) == 0)
        bundle->info = collection->maps_info;
    return -ENOENT;
}

/* Before anything that may be slow: the log has the stack at once. */
static void unwind(struct collection *collection)
{
    struct stacktrace *trace = &collection->trace;

    if (collection->core &&
        stacktrace_unwind(&collection->bundle, collection->core, collection->exe_fd, trace) == 0)
        collection->bundle.frames = trace->frames;
}

static void collect_stacktrace(struct collection *collection)
{
    struct stacktrace *trace = &collection->trace;
    int r;

    if (!collection->core) {
        missing(collection, ARTIFACT_STACKTRACE, "there is no core to unwind");
        return;
    }
    if (trace->text_fd >= 0)
        (void)deliver(&collection->delivery, ARTIFACT_STACKTRACE, write_fd, &trace->text_fd);
    else
        missing(collection, ARTIFACT_STACKTRACE, "the core could not be unwound");
    r = stacktrace_start_gdb(trace, collection->core, collection->exe_fd,
                             collection->record->settings.collect_timeout);
    if (r < 0 && r != -ENOENT)
        log_errno(r, "gdb cannot be started");
}

static void collect_core(struct collection *collection)
{
    if (!collection->core)
        missing(collection, ARTIFACT_CORE, collection->bundle.no_core);
    else if (deliver(&collection->delivery, ARTIFACT_CORE, write_core_zip, collection) < 0)
        log_error("the core stays at %s: copy it before the container is removed",
                  collection->core->path);
}

static void collect_executable(struct collection *collection)
{
    if (collection->exe_fd < 0)
        missing(collection, ARTIFACT_EXECUTABLE, "the executable that ran is not to be had");
    else
        (void)deliver(&collection->delivery, ARTIFACT_EXECUTABLE, write_fd, &collection->exe_fd);
}

static void collect_libs(struct collection *collection)
{
    if (!collection->bundle.info)
        missing(collection, ARTIFACT_LIBS, "what was mapped is not known");
    else
        (void)deliver(&collection->delivery, ARTIFACT_LIBS, write_libs, collection);
}

/* What is in the spool, in order of worth, between crash.json's two forms. */
static int send_all(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;
    int r;

    if (delivery->spool)
        send_early_account(delivery);
    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++)
        deliver_to_s3(delivery, (enum artifact_kind)kind);
    r = deliver_account(delivery);
    deliver_to_s3(delivery, ARTIFACT_CRASH_JSON);
    return r;
}

/* gdb's text comes last: it may take two minutes, and the bundle is whole without it. */
static int collect_gdb(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;
    int r;

    if (stacktrace_finish_gdb(&collection->trace, &collection->bundle) != 1)
        return 0;
    (void)deliver(delivery, ARTIFACT_STACKTRACE, write_fd, &collection->trace.text_fd);
    deliver_to_s3(delivery, ARTIFACT_STACKTRACE);
    r = deliver_account(delivery);
    deliver_to_s3(delivery, ARTIFACT_CRASH_JSON);
    return r;
}

/*
 * The kernel's file is a second copy once the zip is whole. That it is this crash's is certain only
 * where wait(2) told of the process itself: a shell's word for its child is not enough to delete.
 */
static void remove_core(struct collection *collection)
{
    int r;

    if (!collection->core || !collection->bundle.artifacts[ARTIFACT_CORE].made ||
        collection->record->wait_code == CLD_EXITED)
        return;
    r = kernel_core_remove(collection->core);
    if (r < 0)
        log_warning("the kernel's core %s cannot be removed: %s", collection->core->path,
                    strerrordesc_np(-r));
}

static void tell_result(const struct collection *collection)
{
    const struct bundle *bundle = &collection->bundle;
    char made[128] = "", lost[128] = "";
    bool is_sent = collection->delivery.s3 != NULL;

    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        char *list = bundle->artifacts[kind].made ? made : lost;

        strcat(list, " ");
        strcat(list, artifact_suffixes[kind] + 1);
    }
    log_notice("bundle %s:%s; in %s%s%s%s%s", bundle->id, made,
               collection->delivery.spool ? collection->record->settings.cores_dir : "",
               collection->delivery.spool && is_sent ? " and " : "",
               is_sent ? s3_destination(collection->delivery.s3) : "", lost[0] ? "; without" : "",
               lost);
}

static void collection_free(struct collection *collection)
{
    delivery_close(&collection->delivery);
    stacktrace_free(&collection->trace);
    core_info_free(collection->maps_info);
    kernel_core_free(collection->core);
    close_fd(collection->exe_fd);
}

/* In order of worth: should the container die on the way, the most telling is out. */
static int collect(struct crash_record *record)
{
    __attribute__((cleanup(collection_free))) struct collection collection = {
        .record = record,
        .bundle = {.record = record},
        .trace = {.text_fd = -1, .gdb_fd = -1},
        .exe_fd = -1,
    };
    int r;

    if (gethostname(collection.bundle.hostname, sizeof(collection.bundle.hostname) - 1) < 0)
        strcpy(collection.bundle.hostname, "localhost");
    container_read("", &collection.bundle.container);
    if (find_core(&collection) < 0) {
        if (record->wait_code == CLD_EXITED) {
            log_info("pid %d ended with status %d, as a shell does whose child crashed, but there "
                     "is no new core: %s",
                     record->pid, record->wait_status, collection.bundle.no_core);
            return 0;
        }
        log_error("pid %d left no core: %s", record->pid, collection.bundle.no_core);
    }
    r = delivery_open(&collection.delivery, &collection.bundle);
    if (r < 0) {
        if (collection.core)
            log_error("the core stays at %s: copy it before the container is removed",
                      collection.core->path);
        return r;
    }

    collection.exe_fd = executable_open(&collection.bundle);
    unwind(&collection);
    keep_early_account(&collection.delivery);
    if (!collection.delivery.spool)
        send_early_account(&collection.delivery);
    collect_stacktrace(&collection);
    collect_core(&collection);
    collect_executable(&collection);
    collect_libs(&collection);
    if (collection.delivery.spool && collection.delivery.s3)
        (void)deliver_account(&collection.delivery); /* whole here, should sending be cut short */
    remove_core(&collection);
    r = send_all(&collection);
    if (r == 0)
        r = collect_gdb(&collection);
    tell_result(&collection);
    return r;
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
