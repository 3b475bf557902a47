#include "ctl/collection.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle/libs.h"
#include "capture/gdb.h"
#include "ctl/core_zip.h"
#include "ctl/executable.h"
#include "ctl/identity.h"
#include "ctl/record.h"
#include "util/cleanup.h"
#include "util/log.h"

static int write_libs(void *context, struct sink *sink)
{
    const struct collection *collection = context;
    const struct core_info *info = collection->bundle.info;
    const char *exe_path = info->knows_executable ? info->modules[0].path : collection->record->exe;

    return libs_write(info, &collection->link_names, exe_path, sink);
}

static struct artifact *artifact_of(struct collection *collection, enum artifact_kind kind)
{
    return &collection->bundle.artifacts[kind];
}

static void missing(struct collection *collection, enum artifact_kind kind, const char *why)
{
    struct artifact *artifact = artifact_of(collection, kind);

    snprintf(artifact->error, sizeof(artifact->error), "%s", why);
}

static void collect_stacktrace(struct collection *collection)
{
    if (collection->trace.text_fd >= 0)
        (void)deliver(&collection->delivery, ARTIFACT_STACKTRACE, stacktrace_write,
                      &collection->trace);
    else if (!deliver_left(&collection->delivery, ARTIFACT_STACKTRACE))
        missing(collection, ARTIFACT_STACKTRACE,
                captured_has_core(&collection->captured) ? "the stack could not be unwound"
                                                         : "there is no core to unwind");
}

/* The deadline came while it was written. */
static void tell_cut(struct collection *collection, const struct core_zip *zip)
{
    struct artifact *artifact = artifact_of(collection, ARTIFACT_CORE);

    collection->bundle.is_cut = true;
    collection->bundle.cut_at = zip->written;
    snprintf(artifact->error, sizeof(artifact->error),
             "cut after %llu of %llu bytes: there was no time left",
             (unsigned long long)zip->written, (unsigned long long)zip->size);
    log_warning("the core of %s is %s", collection->bundle.id, artifact->error);
    if (collection->captured.kernel)
        captured_tell_fate(&collection->captured);
}

static void make_core(struct collection *collection)
{
    struct captured *captured = &collection->captured;
    struct bundle *bundle = &collection->bundle;
    struct core_zip zip = {
        .captured = captured,
        .deadline = collection->deadline,
        .mtime = collection->record->ended_realtime.tv_sec,
    };

    if (deliver(&collection->delivery, ARTIFACT_CORE, core_zip_write, &zip) < 0) {
        captured_tell_fate(captured);
        return;
    }
    if (core_zip_is_cut(&zip))
        tell_cut(collection, &zip);
    if (!captured->live)
        return;
    bundle->knows_unreadable = true;
    bundle->unreadable = captured->live->unreadable;
    if (bundle->unreadable > 0)
        log_warning("%llu bytes of pid %d could not be read: the core has zeros in their place",
                    (unsigned long long)bundle->unreadable, collection->record->pid);
}

/* What the collector before had committed is whole, unless the kernel's core is there still, which
 * goes when its archive is whole. */
static void collect_core(struct collection *collection)
{
    if (!collection->captured.kernel && deliver_left(&collection->delivery, ARTIFACT_CORE))
        return;
    if (captured_has_core(&collection->captured))
        make_core(collection);
    else
        missing(collection, ARTIFACT_CORE, collection->bundle.no_core);
}

/* It takes memory, of which the first attempt may have had too much. */
static bool wants_gdb(const struct collection *collection)
{
    return collection->record->attempt < 2 && gdb_is_there();
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
        if (wants_gdb(collection))
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
    if (deliver_left(&collection->delivery, ARTIFACT_EXECUTABLE))
        return;
    if (collection->exe_fd < 0)
        missing(collection, ARTIFACT_EXECUTABLE, "the executable that ran is not to be had");
    else
        (void)deliver(&collection->delivery, ARTIFACT_EXECUTABLE, write_file, &collection->exe_fd);
}

static void collect_libs(struct collection *collection)
{
    if (deliver_left(&collection->delivery, ARTIFACT_LIBS))
        return;
    if (!collection->bundle.info)
        missing(collection, ARTIFACT_LIBS, "what was mapped is not known");
    else
        (void)deliver(&collection->delivery, ARTIFACT_LIBS, write_libs, collection);
}

/* gdb's text comes last: it may take two minutes, and the bundle is whole without it. */
static int collect_gdb(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;

    if (stacktrace_finish_gdb(&collection->trace) != 1 ||
        deliver(delivery, ARTIFACT_STACKTRACE, stacktrace_write, &collection->trace) < 0)
        return 0;
    delivery_settle(delivery);
    return deliver_account(delivery, true);
}

static void tell_result(const struct collection *collection)
{
    const struct bundle *bundle = &collection->bundle;
    const struct delivery *delivery = &collection->delivery;
    const bool is_sent = delivery->uploader && !uploader_has_failed(delivery->uploader);
    const bool stays = delivery_stays(delivery);
    char made[128] = "", lost[128] = "";

    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        char *list = bundle->artifacts[kind].made ? made : lost;

        strcat(list, " ");
        strcat(list, artifact_suffixes[kind] + 1);
    }
    log_notice("bundle %s:%s; in %s%s%s%s%s", bundle->id, made,
               stays ? collection->record->settings.cores_dir : "", stays && is_sent ? " and " : "",
               is_sent ? uploader_destination(delivery->uploader) : "", lost[0] ? "; without" : "",
               lost);
}

void collection_begin(struct collection *collection, struct crash_record *record,
                      struct deadline *deadline)
{
    *collection = (struct collection){
        .record = record,
        .deadline = deadline,
        .bundle = {.record = record, .capture_source = "none"},
        .captured = {.record = record, .memory_fd = -1},
        .trace = {.text_fd = -1, .core_fd = -1, .gdb_fd = -1, .unwound_fd = -1, .frames_fd = -1},
        .exe_fd = -1,
    };
}

int collection_open(struct collection *collection)
{
    struct crash_record *record = collection->record;
    struct journal_notes notes = {0};

    if (collection->delivery.is_adopted)
        spool_noted(collection->delivery.spool, &notes);
    return notes.core[0] ? captured_open_noted(record, notes.core, notes.core_stays,
                                               &collection->bundle, &collection->captured)
                         : captured_open(record, NULL, &collection->bundle, &collection->captured);
}

void collection_read(struct collection *collection)
{
    collection->exe_fd = executable_open(&collection->bundle);
    if (captured_has_core(&collection->captured))
        (void)stacktrace_start_unwind(&collection->bundle, collection->captured.memory_fd,
                                      collection->exe_fd, collection->deadline, &collection->trace);
}

static void find_out_where(struct collection *collection)
{
    struct bundle *bundle = &collection->bundle;

    if (gethostname(bundle->hostname, sizeof(bundle->hostname) - 1) < 0)
        strcpy(bundle->hostname, "localhost");
    if (bundle->record->root_fd > 0)
        container_read_of(bundle->record->pid, bundle->record->root_fd, &bundle->container);
    else
        container_read("", &bundle->container);
}

int collection_find_place(struct collection *collection)
{
    find_out_where(collection);
    return delivery_open(&collection->delivery, &collection->bundle, collection->deadline);
}

/* In order of worth: should the container die on the way, the most telling is out. */
static void make_artifacts(struct collection *collection)
{
    collect_stacktrace(collection);
    collect_core(collection);
    let_go(collection);
    collect_executable(collection);
    collect_libs(collection);
}

/* The kernel's cores of a crash loop would fill the disk that they are on. */
static void drop_core(struct collection *collection)
{
    if (!captured_may_remove(&collection->captured))
        return;
    log_notice("the core %s is not kept: it is crash %u of the last hour, and the bundles of the "
               "first have theirs",
               collection->captured.kernel->path, collection->record->n_crashes);
    captured_remove(&collection->captured);
}

/* The whole account is in the spool before anything is waited for, should sending be cut short. */
static int finish(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;
    int r;

    if (delivery->spool && delivery->uploader)
        (void)deliver_account(delivery, false);
    if (collection->bundle.artifacts[ARTIFACT_CORE].made && !collection->bundle.is_cut)
        captured_remove(&collection->captured);
    delivery_settle(delivery);
    r = deliver_account(delivery, true);
    if (r == 0 && collection->record->is_brief)
        drop_core(collection);
    if (r == 0)
        r = collect_gdb(collection);
    tell_result(collection);
    return r < 0 ? r : delivery_end(delivery);
}

/* For the next attempt, which knows no more of it than what is noted. */
static void note_core(struct collection *collection)
{
    struct spool *spool = collection->delivery.spool;

    if (captured_may_remove(&collection->captured) || spool_note_core_stays(spool) == 0)
        (void)spool_note_core(spool, collection->captured.kernel->path);
}

int collection_make(struct collection *collection)
{
    struct delivery *delivery = &collection->delivery;
    struct identity *identity;
    int r;

    r = delivery_connect(delivery);
    if (r < 0) {
        captured_tell_fate(&collection->captured);
        return r;
    }
    if (delivery->spool && collection->captured.kernel)
        note_core(collection);
    if (stacktrace_finish_unwind(&collection->trace) == 0)
        collection->bundle.frames = collection->trace.frames;
    deliver_early_account(delivery);
    identity = identity_begin(&collection->bundle.container);
    if (!collection->record->is_brief)
        make_artifacts(collection);
    identity_end(identity, &collection->bundle.container);
    if (!collection->bundle.is_cut || !collection->captured.kernel || !delivery->spool)
        return finish(collection);
    delivery_leave_unfinished(delivery); /* the kernel's core is whole, and is collected again */
    return -EAGAIN;
}

bool collection_is_left(const struct collection *collection)
{
    return collection->delivery.is_adopted &&
           (!captured_has_core(&collection->captured) ||
            delivery_has(&collection->delivery, ARTIFACT_CRASH_JSON));
}

void collection_complete_left(struct collection *collection)
{
    const struct delivery *delivery = &collection->delivery;

    if (!delivery_has(delivery, ARTIFACT_CRASH_JSON)) {
        collect_executable(collection);
        collect_libs(collection);
    } else if (delivery_has(delivery, ARTIFACT_CORE)) {
        captured_remove(&collection->captured);
    }
    captured_release(&collection->captured, delivery_has(delivery, ARTIFACT_CORE));
}

static int repeat(struct crash_record *record, const struct journal_notes *notes,
                  struct spool *spool, const char *id, struct deadline *deadline)
{
    _cleanup_(collection_free) struct collection collection;

    collection_begin(&collection, record, deadline);
    if (captured_open_noted(record, notes->core, notes->core_stays, &collection.bundle,
                            &collection.captured) < 0)
        return -ENOENT;
    snprintf(collection.bundle.id, sizeof(collection.bundle.id), "%s", id);
    find_out_where(&collection);
    delivery_open_held(&collection.delivery, &collection.bundle, spool, deadline);
    collection_read(&collection);
    return collection_make(&collection);
}

int collection_repeat(const struct crash_settings *settings, struct spool *spool, const char *id,
                      struct deadline *deadline)
{
    _cleanup_free_ struct crash_record *record = calloc(1, sizeof(*record));
    struct journal_notes notes;

    if (!record)
        return -ENOMEM;
    spool_noted(spool, &notes);
    record_begin(record, notes.crash.pid);
    record->is_held = false;
    record->settings = *settings;
    record->ended_realtime = notes.crash.realtime;
    record->ended_boottime = notes.crash.boottime;
    return notes.core[0] ? repeat(record, &notes, spool, id, deadline) : -ENOENT;
}

void collection_free(struct collection *collection)
{
    delivery_close(&collection->delivery);
    stacktrace_free(&collection->trace);
    link_names_free(&collection->link_names);
    captured_free(&collection->captured);
    close_fd(collection->exe_fd);
}
