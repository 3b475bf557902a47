#include "ctl/collection.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle/libs.h"
#include "bundle/zip.h"
#include "capture/gdb.h"
#include "ctl/executable.h"
#include "util/cleanup.h"
#include "util/log.h"

/* zlib's fastest: cores are mostly zeros and pointers, and a dying container has no time. */
#define ZIP_LEVEL 1

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

    r = captured_source(&collection->captured, &source);
    if (r < 0)
        return log_errno(r, "cannot read the core");
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

    return libs_write(info, &collection->link_names, exe_path, sink);
}

static void missing(struct collection *collection, enum artifact_kind kind, const char *why)
{
    struct artifact *artifact = &collection->bundle.artifacts[kind];

    snprintf(artifact->error, sizeof(artifact->error), "%s", why);
}

/* Before anything that may be slow: the log has the stack at once. */
static void unwind(struct collection *collection)
{
    struct stacktrace *trace = &collection->trace;

    if (captured_has_core(&collection->captured) &&
        stacktrace_unwind(&collection->bundle, collection->captured.memory_fd, collection->exe_fd,
                          trace) == 0)
        collection->bundle.frames = trace->frames;
}

static void collect_stacktrace(struct collection *collection)
{
    if (collection->trace.text_fd >= 0)
        (void)deliver(&collection->delivery, ARTIFACT_STACKTRACE, stacktrace_write,
                      &collection->trace);
    else
        missing(collection, ARTIFACT_STACKTRACE,
                captured_has_core(&collection->captured) ? "the stack could not be unwound"
                                                         : "there is no core to unwind");
}

static void collect_core(struct collection *collection)
{
    struct captured *captured = &collection->captured;
    struct bundle *bundle = &collection->bundle;

    if (!captured_has_core(captured)) {
        missing(collection, ARTIFACT_CORE, bundle->no_core);
        return;
    }
    if (deliver(&collection->delivery, ARTIFACT_CORE, write_core_zip, collection) < 0)
        captured_tell_fate(captured);
    if (!captured->live || !bundle->artifacts[ARTIFACT_CORE].made)
        return;
    bundle->knows_unreadable = true;
    bundle->unreadable = captured->live->unreadable;
    if (bundle->unreadable > 0)
        log_warning("%llu bytes of pid %d could not be read: the core has zeros in their place",
                    (unsigned long long)bundle->unreadable, collection->record->pid);
}

/*
 * Takes the last that is needed of the process, and lets it die. gdb begins only here, behind the
 * core, which is worth more: it wants the processor, and its small core wants memory.
 */
static void let_go(struct collection *collection)
{
    struct captured *captured = &collection->captured;
    int r = -ENOENT;

    if (captured_has_core(captured)) {
        if (link_names_read(captured->info, captured->memory_fd, &collection->link_names) < 0)
            log_info("the loader's names of the libraries cannot be read: .libs.zip has them at "
                     "their real paths only");
        if (gdb_is_there())
            r = captured_open_for_debugger(captured);
    }
    captured_release(captured, collection->bundle.artifacts[ARTIFACT_CORE].made);
    if (collection->bundle.snapshot)
        snapshot_facts_end(collection->bundle.snapshot);
    if (r >= 0)
        r = stacktrace_start_gdb(&collection->trace, r, collection->exe_fd,
                                 collection->record->settings.collect_timeout);
    if (r < 0 && r != -ENOENT)
        log_errno(r, "gdb cannot be started");
}

static void collect_executable(struct collection *collection)
{
    if (collection->exe_fd < 0)
        missing(collection, ARTIFACT_EXECUTABLE, "the executable that ran is not to be had");
    else
        (void)deliver(&collection->delivery, ARTIFACT_EXECUTABLE, write_file, &collection->exe_fd);
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

    if (stacktrace_finish_gdb(&collection->trace) != 1)
        return 0;
    (void)deliver(delivery, ARTIFACT_STACKTRACE, stacktrace_write, &collection->trace);
    deliver_to_s3(delivery, ARTIFACT_STACKTRACE);
    r = deliver_account(delivery);
    deliver_to_s3(delivery, ARTIFACT_CRASH_JSON);
    return r;
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

void collection_begin(struct collection *collection, struct crash_record *record)
{
    *collection = (struct collection){
        .record = record,
        .bundle = {.record = record},
        .captured = {.record = record, .memory_fd = -1},
        .trace = {.text_fd = -1, .core_fd = -1, .gdb_fd = -1},
        .exe_fd = -1,
    };
}

void collection_read(struct collection *collection)
{
    collection->exe_fd = executable_open(&collection->bundle);
    unwind(collection);
}

int collection_find_place(struct collection *collection)
{
    struct bundle *bundle = &collection->bundle;

    if (gethostname(bundle->hostname, sizeof(bundle->hostname) - 1) < 0)
        strcpy(bundle->hostname, "localhost");
    if (bundle->record->root_fd > 0)
        container_read_of(bundle->record->pid, bundle->record->root_fd, &bundle->container);
    else
        container_read("", &bundle->container);
    return delivery_open(&collection->delivery, bundle);
}

int collection_make(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;
    int r;

    keep_early_account(delivery);
    if (!delivery->spool)
        send_early_account(delivery);
    collect_stacktrace(collection);
    collect_core(collection);
    let_go(collection);
    collect_executable(collection);
    collect_libs(collection);
    if (delivery->spool && delivery->s3)
        (void)deliver_account(delivery); /* whole here, should sending be cut short */
    if (collection->bundle.artifacts[ARTIFACT_CORE].made)
        captured_remove(&collection->captured);
    r = send_all(collection);
    if (r == 0)
        r = collect_gdb(collection);
    tell_result(collection);
    return r;
}

void collection_free(struct collection *collection)
{
    delivery_close(&collection->delivery);
    stacktrace_free(&collection->trace);
    link_names_free(&collection->link_names);
    captured_free(&collection->captured);
    close_fd(collection->exe_fd);
}
