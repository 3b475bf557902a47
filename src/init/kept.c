#include "init/kept.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "trace/identity.h"
#include "util/cleanup.h"
#include "util/io.h"

static int open_of(pid_t pid, const char *name)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void read_auxv(pid_t pid, struct kept_process *kept)
{
    _cleanup_close_ int fd = open_of(pid, "auxv");
    ssize_t n = fd < 0 ? -1 : read_full(fd, kept->auxv, sizeof(kept->auxv));

    kept->auxv_size = n > 0 ? (uint32_t)n : 0;
}

static void open_all(pid_t pid, struct kept_process *ret)
{
    identity_be_like(pid);
    ret->mem_fd = open_of(pid, "mem");
    ret->smaps_fd = open_of(pid, "smaps");
    ret->pagemap_fd = open_of(pid, "pagemap");
    read_auxv(pid, ret);
    identity_be_oneself();
}

static void release(struct kept_process *kept)
{
    close_fd(kept->mem_fd);
    close_fd(kept->smaps_fd);
    close_fd(kept->pagemap_fd);
    kept->pid = 0;
}

static struct kept_process *find(struct kept_processes *all, pid_t pid)
{
    for (size_t i = 0; i < KEPT_PROCESSES; i++)
        if (all->of[i].pid == pid)
            return &all->of[i];
    return NULL;
}

/* A free place, else the one that was taken longest ago; never the program's, which is the first to
 * take one. */
static struct kept_process *place(struct kept_processes *all)
{
    struct kept_process *kept = find(all, 0);

    if (kept)
        return kept;
    all->next = all->next % (KEPT_PROCESSES - 1) + 1;
    kept = &all->of[all->next];
    release(kept);
    return kept;
}

void kept_open(struct kept_processes *all, pid_t pid)
{
    struct kept_process *kept = find(all, pid);

    if (kept)
        release(kept);
    else
        kept = place(all);
    kept->pid = pid;
    open_all(pid, kept);
}

void kept_hand_over(struct kept_processes *all, pid_t pid, pid_t tid, struct crash_record *record)
{
    struct kept_process *kept = find(all, pid);
    struct kept_process fresh = {0};

    open_all(tid, &fresh);
    if (kept && fresh.mem_fd < 0) {
        release(&fresh);
        fresh = *kept;
        kept->pid = 0;
    }
    record->mem_fd = fresh.mem_fd;
    record->smaps_fd = fresh.smaps_fd;
    record->pagemap_fd = fresh.pagemap_fd;
    memcpy(record->auxv, fresh.auxv, sizeof(record->auxv));
    record->auxv_size = fresh.auxv_size;
}

void kept_forget(struct kept_processes *all, pid_t pid)
{
    struct kept_process *kept = find(all, pid);

    if (kept)
        release(kept);
}

void kept_close(struct crash_record *record)
{
    close_fd(record->mem_fd);
    close_fd(record->smaps_fd);
    close_fd(record->pagemap_fd);
}
