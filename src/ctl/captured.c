#include "ctl/captured.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/record.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/*
 * A debugger's small core is the container's memory, of which the held process has its own part
 * still. This is room for the first 64 KiB of some 500 stacks.
 */
#define MOST_SMALL_CORE_BYTES (32u << 20)

static void take_kernel(struct captured *captured, struct bundle *bundle)
{
    bundle->capture_source = "kernel";
    captured->info = captured->kernel->info;
    captured->memory_fd = captured->kernel->fd;
    log_notice("the core is %s, %llu bytes%s", captured->kernel->path,
               (unsigned long long)captured->info->file_size,
               captured->info->truncated ? ", truncated" : "");
    if (captured->info->truncated)
        log_warning("the core is truncated: %llu of %llu bytes; a larger core limit and more "
                    "room where core_pattern points would keep it whole",
                    (unsigned long long)captured->info->file_size,
                    (unsigned long long)captured->info->expected_size);
}

/* The word that coreinit waits for. */
static void tell_coreinit(struct crash_record *record, bool has_core)
{
    const char word = has_core ? CRASH_HAS_CORE : CRASH_HAS_NO_CORE;

    if (record->release_fd >= 0)
        (void)write_all(record->release_fd, &word, sizeof(word));
    close_fd(take_fd(&record->release_fd));
}

static int open_kernel(struct captured *captured, struct bundle *bundle)
{
    int r = captured->record->appeared[0]
                ? kernel_core_find_appeared(captured->record, &captured->kernel, bundle->no_core,
                                            sizeof(bundle->no_core))
                : kernel_core_find(captured->record, &captured->kernel, bundle->no_core,
                                   sizeof(bundle->no_core));

    if (r < 0) {
        if (r != -ENOENT)
            snprintf(bundle->no_core, sizeof(bundle->no_core), "the core cannot be used: %s",
                     strerrordesc_np(-r));
        return r;
    }
    take_kernel(captured, bundle);
    return 0;
}

static int open_live(struct captured *captured, const struct process_copy *copy,
                     struct bundle *bundle)
{
    int r = live_process_open(captured->record, copy, &captured->live);

    if (r < 0) {
        snprintf(bundle->no_core, sizeof(bundle->no_core),
                 "the process, which was held to be read, cannot be read: %s",
                 r == -ESRCH ? "it was killed meanwhile" : strerrordesc_np(-r));
        captured_release(captured, false);
        return r;
    }
    bundle->capture_source = "ptrace";
    captured->info = captured->live->info;
    captured->memory_fd = captured->live->mem_fd;
    return 0;
}

int captured_open(struct crash_record *record, const struct process_copy *copy,
                  struct bundle *bundle, struct captured *ret)
{
    int r;

    *ret = (struct captured){.record = record, .memory_fd = -1};
    r = record->is_held ? open_live(ret, copy, bundle) : open_kernel(ret, bundle);
    if (!record->is_held)
        tell_coreinit(record, r == 0);
    record_doubt_witness(record, ret->info);
    if (r < 0) {
        bundle->capture_source = "none";
        if (record->maps_fd >= 0 &&
            core_info_from_maps(record->maps_fd, record->root_fd, &ret->maps_info) == 0)
            ret->info = ret->maps_info;
    }
    bundle->info = ret->info;
    return r < 0 ? -ENOENT : 0;
}

int captured_open_noted(struct crash_record *record, const char *path, bool stays,
                        struct bundle *bundle, struct captured *ret)
{
    int r;

    *ret = (struct captured){.record = record, .memory_fd = -1};
    r = kernel_core_open_noted(path, &record->ended_realtime, &ret->kernel);
    if (r < 0) {
        snprintf(bundle->no_core, sizeof(bundle->no_core), "%s, which was found before: %s", path,
                 r == -ENOENT ? "it is gone" : kernel_core_refusal(r));
        return -ENOENT;
    }
    take_kernel(ret, bundle);
    ret->kernel->stays = stays; /* whose it is isn't asked again */
    bundle->info = ret->info;
    return 0;
}

void captured_open_unwanted(struct crash_record *record, struct captured *ret)
{
    char why[512];

    *ret = (struct captured){.record = record, .memory_fd = -1};
    if (!record->is_held && record->wait_code == CLD_DUMPED)
        (void)kernel_core_find(record, &ret->kernel, why, sizeof(why));
    tell_coreinit(record, true);
}

bool captured_has_core(const struct captured *captured)
{
    return captured->kernel || captured->live;
}

int captured_source(struct captured *captured, struct core_source **ret)
{
    return captured->live ? live_core_source(captured->live, ret)
                          : kernel_core_source(captured->kernel, ret);
}

int captured_open_for_debugger(struct captured *captured)
{
    _cleanup_close_ int fd = captured->live ? memfd_create("core", MFD_CLOEXEC)
                                            : fcntl(captured->kernel->fd, F_DUPFD_CLOEXEC, 3);
    int r = fd < 0 ? -errno : 0;

    if (r == 0 && captured->live)
        r = live_core_write_small(captured->live, MOST_SMALL_CORE_BYTES, fd);
    return r < 0 ? r : take_fd(&fd);
}

void captured_release(struct captured *captured, bool has_core)
{
    if (captured->record->is_held)
        captured->memory_fd = -1;
    tell_coreinit(captured->record, has_core);
}

void captured_tell_fate(const struct captured *captured)
{
    if (captured->kernel)
        log_error("the core stays at %s: copy it before the container is removed",
                  captured->kernel->path);
    else if (captured->live && !captured->record->wait_code)
        log_error("the core of this moment is lost; pid %d goes on: give %s more room, or set "
                  "S3_BUCKET, and take another",
                  captured->record->pid, captured->record->settings.cores_dir);
    else if (captured->live)
        log_error("the core of pid %d is lost, unless the kernel writes one: it is nowhere but in "
                  "the process, which dies now; give %s more room, or set S3_BUCKET",
                  captured->record->pid, captured->record->settings.cores_dir);
}

bool captured_may_remove(const struct captured *captured)
{
    return captured->kernel && !captured->kernel->stays &&
           captured->record->wait_code != CLD_EXITED;
}

void captured_remove(struct captured *captured)
{
    int r;

    if (!captured_may_remove(captured))
        return;
    r = kernel_core_remove(captured->kernel);
    if (r < 0)
        log_warning("the kernel's core %s cannot be removed: %s", captured->kernel->path,
                    strerrordesc_np(-r));
}

void captured_free(struct captured *captured)
{
    captured_release(captured, false);
    live_process_free(captured->live);
    kernel_core_free(captured->kernel);
    core_info_free(captured->maps_info);
}
