#include "ctl/call_safety.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/identity.h"
#include "trace/tracee.h"
#include "util/io.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#define SECCOMP_STRICT 1
#define SECCOMP_FILTERED 2

struct seccomp_state {
    int mode;
    int filters; /* -1: Linux before 5.9 doesn't tell */
    bool has_shadow_stack;
};

static bool read_state(pid_t pid, struct seccomp_state *ret)
{
    char path[32], status[8192];
    const char *mode, *filters, *features;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    if (read_text_at(AT_FDCWD, path, status, sizeof(status)) < 0)
        return false;
    mode = proc_line(status, "Seccomp:");
    filters = proc_line(status, "Seccomp_filters:");
    features = proc_line(status, "x86_Thread_features:");
    ret->mode = mode ? atoi(mode) : 0;
    ret->filters = ret->mode != SECCOMP_FILTERED ? 0 : filters ? atoi(filters) : -1;
    ret->has_shadow_stack =
        features && memmem(features, strcspn(features, "\n"), "shstk", strlen("shstk"));
    return true;
}

/* Whether a process has a file open that is of the kernel's own making. */
static bool has_open(pid_t pid, const char *what)
{
    struct pid_reader fds;
    char path[64], link[64];
    bool found = false;
    pid_t fd;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    if (pid_reader_open(&fds, path) == 0)
        while (!found && (fd = pid_reader_next(&fds))) {
            ssize_t n;

            snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
            n = readlink(path, link, sizeof(link) - 1);
            link[n > 0 ? n : 0] = '\0';
            found = strcmp(link, what) == 0;
        }
    pid_reader_close(&fds);
    return found;
}

/* clone(2) may wait for whoever handles the page faults: most likely a thread that is stopped. */
static bool handles_page_faults(pid_t pid)
{
    bool is_handler;

    identity_be_like(pid);
    is_handler = has_open(tracee_living_thread(pid), "anon_inode:[userfaultfd]");
    identity_be_oneself();
    return is_handler;
}

static bool is_thread_safe(pid_t tid, int most_filters, char *why, size_t why_size)
{
    struct seccomp_state its;

    if (!read_state(tid, &its))
        return true; /* it ended */
    if (its.has_shadow_stack)
        snprintf(why, why_size, "it has a shadow stack");
    else if (its.mode == SECCOMP_STRICT || its.filters < 0 || its.filters > most_filters)
        snprintf(why, why_size, "it has a seccomp filter that might kill it for a clone(2)");
    else
        return true;
    return false;
}

bool call_is_safe(const struct target *target, char *why, size_t why_size)
{
    struct seccomp_state own = {0};
    struct pid_reader threads;
    bool is_safe = !handles_page_faults(target->pid);
    pid_t tid;

    if (!is_safe)
        snprintf(why, why_size, "it handles page faults by userfaultfd(2)");
    if (tracee_shares_mounts(target->pid) == 1 && read_state(getpid(), &own) && own.filters >= 0)
        /* coreinit's filter of ptrace(2) is in place where it holds the listener. */
        own.filters += target->coreinit && has_open(target->coreinit, "anon_inode:seccomp notify");
    else
        own.filters = 0;
    if (pid_reader_open_threads(&threads, target->pid) == 0)
        while (is_safe && (tid = pid_reader_next(&threads)))
            is_safe = is_thread_safe(tid, own.filters, why, why_size);
    pid_reader_close(&threads);
    return is_safe;
}
