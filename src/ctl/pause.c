#include "ctl/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

#include "bundle/container.h"
#include "capture/live_dump_rules.h"
#include "capture/live_memory.h"
#include "ctl/call_safety.h"
#include "ctl/record.h"
#include "trace/holding.h"
#include "trace/identity.h"
#include "trace/tracee.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#define MIB (1ull << 20)

/* What is left to others of the memory that there is: this, and a tenth. */
#define KEPT_BYTES (64 * MIB)

/* Of zombies that earlier snapshots left, at a time: the process stands still for each. */
#define MOST_BURIED 32
#define BURIAL_TRIES 3

static int open_file(pid_t pid, const char *name)
{
    char path[48];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Opens a process's memory as its own user may. Returns 0 or -errno. */
static int open_memory(pid_t pid, int *ret_mem_fd, int *ret_smaps_fd, int *ret_pagemap_fd)
{
    identity_be_like(pid);
    *ret_mem_fd = open_file(pid, "mem");
    *ret_smaps_fd = open_file(pid, "smaps");
    *ret_pagemap_fd = open_file(pid, "pagemap");
    identity_be_oneself();
    return *ret_mem_fd < 0 ? *ret_mem_fd : *ret_smaps_fd < 0 ? *ret_smaps_fd : 0;
}

static uint64_t within(uint64_t room, const struct container *container)
{
    const uint64_t used = container->memory_usage - container->memory_cache;
    uint64_t left;

    if (!container->memory_limit || container->memory_limit == MEMORY_UNLIMITED)
        return room;
    left = used < container->memory_limit ? container->memory_limit - used : 0;
    return left < room ? left : room;
}

static uint64_t spare(uint64_t room)
{
    room -= room / 10;
    return room > KEPT_BYTES ? room - KEPT_BYTES : 0;
}

/* Of the cgroup that this is in, and of the machine. */
static uint64_t memory_room(void)
{
    char text[4096];
    const char *available;
    struct container here;
    uint64_t room = 0;

    if (read_text_at(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) > 0 &&
        (available = proc_line(text, "MemAvailable:")))
        room = strtoull(available, NULL, 10) * 1024;
    container_read("", &here);
    return spare(within(room, &here));
}

/* The same, and of the process's cgroup, should that be another: it pays for what its clone takes.
 */
static uint64_t clone_room(const struct pause *pause)
{
    const uint64_t room = memory_room();
    struct container there;
    uint64_t own_room;

    if (pause->root_fd < 0)
        return room;
    container_read_of(pause->target->pid, pause->root_fd, &there);
    own_room = spare(within(UINT64_MAX, &there));
    return own_room < room ? own_room : room;
}

static int tell_end(const struct target *target)
{
    log_error("%s (pid %d) has ended", target->name, target->pid);
    return -ESRCH;
}

/* Says why a process can't be traced. */
static int refuse(const struct target *target, int error)
{
    if (error == -ESRCH || error == -ENOENT)
        return tell_end(target);
    if (error != -EPERM && error != -EACCES)
        return log_errno(error, "%s (pid %d) can't be traced", target->name, target->pid);
    log_error("%s (pid %d) can't be traced: %s; give this container CAP_SYS_PTRACE (docker run "
              "--cap-add SYS_PTRACE), or run corectl as the process's user (docker exec --user)",
              target->name, target->pid,
              identity_yama_scope() > 0
                  ? "Yama forbids it (kernel.yama.ptrace_scope is not 0)"
                  : "it is another user's, undumpable, or has more privileges");
    return error;
}

/* Nothing else keeps all threads from being stopped, but their end. */
static bool is_uninterruptible(pid_t pid)
{
    return tracee_state(pid) == 'D';
}

static int seize(pid_t pid)
{
    struct identity own;
    int r, returned;

    identity_trace_like(pid, &own);
    r = holding_seize(pid);
    returned = identity_return(&own);
    return r < 0 ? r : returned < 0 ? returned : r;
}

static void let_go(struct pause *pause)
{
    if (!pause->is_traced)
        return;
    pause->is_traced = holding_detach_stopped(pause->target->pid) > 0;
    if (!pause->is_traced)
        target_give_back(pause->target);
}

/* Tries to get by with a clone. Returns 0, or -errno with facts.why. */
static int make_clone(struct pause *pause, bool is_safe)
{
    const uint64_t room = clone_room(pause);
    char *why = pause->facts.why;
    int r;

    if (!is_safe)
        return -EPERM;
    /* What the process writes to while the clone is there takes memory anew. */
    if (room == 0 || process_copy_size(&pause->copy, pause->pagemap_fd) > room) {
        snprintf(why, sizeof(pause->facts.why), "memory is short");
        return -ENOMEM;
    }
    r = process_clone_make(pause->target->pid, &pause->clone, why, sizeof(pause->facts.why));
    if (r < 0)
        return r;
    r = process_copy_take(&pause->copy, pause->target->pid, pause->mem_fd, pause->pagemap_fd);
    if (r < 0) {
        snprintf(why, sizeof(pause->facts.why), "what a clone lacks can't be copied: %s",
                 strerrordesc_np(-r));
        process_clone_end(&pause->clone);
    }
    return r;
}

static int list_copy(struct pause *pause, bool is_whole)
{
    return process_copy_list(pause->smaps_fd, pause->mem_fd, pause->pagemap_fd,
                             live_dump_filter(pause->target->pid), is_whole, &pause->copy);
}

/* Whether there is memory for the whole copy, apart from what it has. */
static bool has_room_for_copy(const struct pause *pause)
{
    const uint64_t size = process_copy_size(&pause->copy, pause->pagemap_fd);
    const uint64_t room = memory_room(), prepared = pause->copy.prepared;

    if (size <= prepared || size - prepared <= room)
        return true;
    log_info("pid %d has %llu MiB to be copied, and there is room for %llu MiB", pause->target->pid,
             (unsigned long long)(size / MIB), (unsigned long long)((room + prepared) / MIB));
    return false;
}

static int make_copy(struct pause *pause)
{
    int r = list_copy(pause, true);

    if (r == 0 && !has_room_for_copy(pause))
        r = -ENOMEM;
    return r < 0 ? r
                 : process_copy_take(&pause->copy, pause->target->pid, pause->mem_fd,
                                     pause->pagemap_fd);
}

/* All for the copy that can be done while the process runs. Returns 0 or -errno of looking at it.
 */
static int prepare_copy(struct pause *pause, bool is_whole)
{
    int r = list_copy(pause, is_whole);

    if (r == 0 && is_whole && has_room_for_copy(pause) &&
        process_copy_prepare(&pause->copy, pause->pagemap_fd) < 0)
        log_info("memory for a copy of pid %d can't be had beforehand", pause->target->pid);
    return r;
}

/* Where the record's memory is. */
static int tell_memory(struct pause *pause, struct crash_record *record)
{
    if (pause->clone.pid)
        return open_memory(pause->clone.pid, &record->mem_fd, &record->smaps_fd,
                           &record->pagemap_fd);
    if (pause->copy.is_whole)
        return 0;
    record->mem_fd = take_fd(&pause->mem_fd);
    record->smaps_fd = take_fd(&pause->smaps_fd);
    record->pagemap_fd = take_fd(&pause->pagemap_fd);
    return 0;
}

static void tell_method(const struct pause *pause)
{
    const struct target *target = pause->target;
    const struct snapshot_facts *facts = &pause->facts;

    if (pause->clone.pid)
        log_notice("%s (pid %d) was paused for %.1f ms: its core is read from a clone of it",
                   target->name, target->pid, facts->pause_ms);
    else if (pause->copy.is_whole)
        log_notice("%s (pid %d) was paused for %.1f ms while its memory was copied, since a clone "
                   "isn't possible: %s",
                   target->name, target->pid, facts->pause_ms, facts->why);
    else
        log_warning("%s (pid %d) stands still while its core is read: there is no clone (%s) and "
                    "no room for a copy",
                    target->name, target->pid, facts->why);
}

/* Its threads are stopped. */
static int take(struct pause *pause, bool is_safe, struct crash_record *record)
{
    struct snapshot_facts *facts = &pause->facts;
    const pid_t pid = pause->target->pid;
    int r;

    record->crash_tid = holding_stopped_thread(pid);
    if (!record->crash_tid && !is_uninterruptible(pid))
        return tell_end(pause->target);
    if (!record->crash_tid) {
        log_error("%s (pid %d) can't be stopped: every thread of it is in an uninterruptible sleep "
                  "in the kernel, which waits for a device or a file system",
                  pause->target->name, pid);
        return -EBUSY;
    }
    r = holding_save(pid, record->crash_tid, NULL, &record->threads_fd);
    if (r < 0) {
        return r == -ENOTSUP ? log_errno(r, "pid %d is a 32-bit process", pid)
                             : refuse(pause->target, r);
    }
    facts->method = "clone";
    r = make_clone(pause, is_safe);
    if (r < 0) {
        facts->method = "copy";
        r = make_copy(pause);
    }
    if (r < 0) {
        facts->method = "held";
        process_copy_free(&pause->copy);
    } else {
        let_go(pause);
        snapshot_facts_end(facts);
    }
    if (live_memory_is_gone(pause->mem_fd))
        return tell_end(pause->target);
    r = tell_memory(pause, record);
    return r < 0 ? log_errno(r, "the memory of pid %d can't be opened", pid) : 0;
}

void pause_init(struct pause *pause)
{
    *pause = (struct pause){
        .facts = {.pause_ms = -1},
        .mem_fd = -1,
        .smaps_fd = -1,
        .pagemap_fd = -1,
        .root_fd = -1,
    };
    process_copy_init(&pause->copy);
}

int pause_begin(const struct target *target, struct crash_record *record, struct pause *pause)
{
    struct snapshot_facts *facts = &pause->facts;
    bool is_safe;
    int r, running;

    pause->target = target;
    /* All that can be done while it runs. */
    record->crash_tid = tracee_living_thread(target->pid);
    r = open_memory(record->crash_tid, &pause->mem_fd, &pause->smaps_fd, &pause->pagemap_fd);
    if (r < 0)
        return refuse(target, r);
    identity_be_like(target->pid);
    record_look(record);
    pause->root_fd = record->root_fd;
    identity_be_oneself();
    is_safe = call_is_safe(target, facts->why, sizeof(facts->why));
    r = prepare_copy(pause, !is_safe);
    if (r < 0)
        return refuse(target, r);
    r = target_take(target);
    if (r < 0)
        return r;

    facts->began_ns = monotonic_ns();
    running = seize(target->pid);
    if (running < 0) {
        target_give_back(target);
        return refuse(target, running);
    }
    pause->is_traced = true;
    r = take(pause, is_safe, record);
    if (r < 0) {
        pause_end(pause);
        return r;
    }
    if (running > 0)
        log_warning(
            "%d threads of pid %d can't be stopped (uninterruptible sleep, or waiting for a "
            "vfork child): the snapshot is without their registers",
            running, target->pid);
    tell_method(pause);
    return 0;
}

const struct process_copy *pause_copy(const struct pause *pause)
{
    const bool is_held = pause->mem_fd < 0; /* it is the record's then */

    return is_held ? NULL : &pause->copy;
}

void pause_watch_memory(struct pause *pause)
{
    if (process_clone_has_ended(&pause->clone))
        log_warning("the clone of pid %d was killed before its core was whole", pause->target->pid);
    if (!pause->clone.pid || clone_room(pause) > 0)
        return;
    log_warning("memory is short: the clone of pid %d is given up before its core is whole",
                pause->target->pid);
    process_clone_end(&pause->clone);
}

bool pause_see_late(struct pause *pause)
{
    if (pause->facts.pause_ms >= 0)
        let_go(pause);
    return pause->is_traced && pause->facts.pause_ms >= 0;
}

static int bury_once(struct pause *pause, const pid_t *dead, size_t n_dead)
{
    const pid_t pid = pause->target->pid;
    int r;

    if (pause->is_traced)
        return -EAGAIN;
    r = target_take(pause->target);
    if (r < 0)
        return r;
    r = seize(pid);
    pause->is_traced = r >= 0;
    if (!pause->is_traced) {
        target_give_back(pause->target);
        return r;
    }
    r = process_clone_bury(pid, &pause->clone, dead, n_dead);
    let_go(pause);
    return r;
}

/* Its parent would keep a zombie, as it may those of snapshots that were killed. */
static void bury(struct pause *pause)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    const pid_t pid = pause->target->pid;
    pid_t dead[MOST_BURIED];
    size_t n;
    int r;

    identity_be_like(pid);
    n = process_clone_find_dead(pid, dead, MOST_BURIED);
    identity_be_oneself();
    r = bury_once(pause, dead, n);
    /* Its only thread may have been at a signal. */
    for (int i = 1; i < BURIAL_TRIES && (r == -EBUSY || r == -EINTR); i++) {
        nanosleep(&moment, NULL);
        r = bury_once(pause, dead, n);
    }
    if (r < 0 && r != -ESRCH)
        log_info("a zombie of the clone stays with pid %d (%s); it does no harm", pid,
                 strerrordesc_np(-r));
}

void pause_end(struct pause *pause)
{
    const bool had_clone = pause->clone.own_pid != 0;

    process_clone_end(&pause->clone);
    snapshot_facts_end(&pause->facts);
    let_go(pause);
    if (had_clone)
        bury(pause);
}

void pause_free(struct pause *pause)
{
    process_copy_free(&pause->copy);
    close_fd(pause->mem_fd);
    close_fd(pause->smaps_fd);
    close_fd(pause->pagemap_fd);
}
