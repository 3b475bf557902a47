#include "capture/live_threads.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/proc_text.h"

/* Fields of proc_pid_stat(5). */
enum {
    STAT_FLAGS = 9,
    STAT_UTIME = 14,
    STAT_STIME = 15,
    STAT_CUTIME = 16,
    STAT_CSTIME = 17,
    STAT_NICE = 19,
};

/* linux/sched.h: what a task's flags get when it dumps, and when another one does. */
#define PF_POSTCOREDUMP 0x8
#define PF_DUMPCORE 0x200
#define PF_SIGNALED 0x400

#define SECOND_US 1000000

/* Reads a file of procfs whose name is formatted; "" where it can't be read. */
static ssize_t read_proc(char *ret, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static ssize_t read_proc(char *ret, size_t size, const char *format, ...)
{
    char path[64];
    va_list arguments;
    ssize_t n;

    va_start(arguments, format);
    vsnprintf(path, sizeof(path), format, arguments);
    va_end(arguments);
    n = read_text_at(AT_FDCWD, path, ret, size);
    if (n < 0)
        ret[0] = '\0';
    return n < 0 ? 0 : n;
}

/* The text of status may have a line of many groups. */
struct task_text {
    char stat[1024];
    char status[16 * 1024];
};

/* Without a thread: the process's, whose times are those of all threads. */
static void read_task(pid_t pid, pid_t tid, struct task_text *ret)
{
    read_proc(ret->status, sizeof(ret->status), "/proc/%d/task/%d/status", pid, tid ? tid : pid);
    if (tid != 0 && tid != pid)
        read_proc(ret->stat, sizeof(ret->stat), "/proc/%d/task/%d/stat", pid, tid);
    else
        read_proc(ret->stat, sizeof(ret->stat), "/proc/%d/stat", pid);
}

static unsigned long long stat_number(const struct task_text *task, unsigned field)
{
    const char *text = proc_stat_field(task->stat, field);

    return text ? strtoull(text, NULL, 10) : 0;
}

static unsigned long long status_number(const struct task_text *task, const char *name, int base)
{
    const char *text = proc_line(task->status, name);

    return text ? strtoull(text, NULL, base) : 0;
}

/*
 * The innermost of the ids that a line of status tells, from the reader's pid namespace to the
 * task's own. Returns how many there are.
 */
static unsigned own_id(const struct task_text *task, const char *name, pid_t *ret)
{
    const char *text = proc_line(task->status, name);
    unsigned levels = 0;
    char *end;

    for (; text && *text == '\t'; text = end, levels++) {
        long id = strtol(text + 1, &end, 10);

        if (end == text + 1)
            break;
        *ret = (pid_t)id;
    }
    return levels;
}

/* The parent in the task's own namespace, 0 where it is outside of it. */
static pid_t own_parent(const struct task_text *task, unsigned levels)
{
    pid_t outer = (pid_t)status_number(task, "PPid:", 10), parent = 0;
    struct task_text text;

    if (levels <= 1)
        return outer;
    /* A parent is of the same namespace or of one further out. */
    read_proc(text.status, sizeof(text.status), "/proc/%d/status", outer);
    return own_id(&text, "NSpid:", &parent) == levels ? parent : 0;
}

static struct timeval ticks_to_time(unsigned long long ticks)
{
    const unsigned long a_second = (unsigned long)sysconf(_SC_CLK_TCK);

    return (struct timeval){
        .tv_sec = (time_t)(ticks / a_second),
        .tv_usec = (suseconds_t)(ticks % a_second * SECOND_US / a_second),
    };
}

void live_thread_status(const struct crash_record *record, pid_t tid, struct elf_prstatus *ret)
{
    struct task_text task;
    unsigned levels;

    read_task(record->pid, tid, &task);
    memset(ret, 0, sizeof(*ret));                /* its padding goes into the core too */
    ret->pr_info.si_signo = record->wait_status; /* every thread's, and without si_code */
    ret->pr_cursig = (short)record->wait_status;
    ret->pr_sigpend = status_number(&task, "SigPnd:", 16);
    ret->pr_sighold = status_number(&task, "SigBlk:", 16);
    ret->pr_utime = ticks_to_time(stat_number(&task, STAT_UTIME));
    ret->pr_stime = ticks_to_time(stat_number(&task, STAT_STIME));
    ret->pr_cutime = ticks_to_time(stat_number(&task, STAT_CUTIME));
    ret->pr_cstime = ticks_to_time(stat_number(&task, STAT_CSTIME));
    ret->pr_pid = tid;
    levels = own_id(&task, "NSpid:", &ret->pr_pid);
    ret->pr_ppid = own_parent(&task, levels);
    own_id(&task, "NSpgid:", &ret->pr_pgrp);
    own_id(&task, "NSsid:", &ret->pr_sid);
}

/* The kernel asks itself for the state, and is running; or it is another thread that dumps, and
 * this one waits for it or is dead. */
static void fill_state(const struct crash_record *record, const struct task_text *task,
                       struct elf_prpsinfo *ret)
{
    const char *state = proc_stat_field(task->stat, PROC_STAT_STATE);

    ret->pr_flag = stat_number(task, STAT_FLAGS);
    if (!record->wait_code) { /* a snapshot: it goes on */
        ret->pr_sname = state ? *state : '.';
    } else if (record->crash_tid == record->pid) {
        ret->pr_sname = 'R';
        ret->pr_flag |= PF_SIGNALED | PF_DUMPCORE;
    } else if (state && (*state == 'Z' || *state == 'X')) {
        ret->pr_state = 8; /* TASK_DEAD's bit, for which there is no letter */
        ret->pr_sname = '.';
    } else {
        ret->pr_state = 2;
        ret->pr_sname = 'D';
        ret->pr_flag |= PF_SIGNALED | PF_POSTCOREDUMP;
    }
}

/* The memory of the arguments, cut, with blanks for its NULs. */
static void fill_arguments(const struct crash_record *record, struct elf_prpsinfo *ret)
{
    char path[64];
    _cleanup_close_ int fd = -1;
    ssize_t n = -1;

    /* A leader that ended, while others go on, has no memory. */
    snprintf(path, sizeof(path), "/proc/%d/cmdline", record->crash_tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        n = read_full(fd, ret->pr_psargs, sizeof(ret->pr_psargs) - 1);
    if (n <= 0) {
        n = record->cmdline_size < sizeof(ret->pr_psargs) ? (ssize_t)record->cmdline_size
                                                          : (ssize_t)sizeof(ret->pr_psargs) - 1;
        memcpy(ret->pr_psargs, record->cmdline, (size_t)n);
    }
    for (ssize_t i = 0; i < n; i++)
        if (ret->pr_psargs[i] == '\0')
            ret->pr_psargs[i] = ' ';
}

void live_process_status(const struct crash_record *record, struct elf_prpsinfo *ret)
{
    struct task_text task;
    char name[17];
    unsigned levels;

    read_task(record->pid, 0, &task);
    memset(ret, 0, sizeof(*ret));
    ret->pr_nice = (char)stat_number(&task, STAT_NICE);
    ret->pr_uid = (unsigned)status_number(&task, "Uid:", 10);
    ret->pr_gid = (unsigned)status_number(&task, "Gid:", 10);
    ret->pr_pid = record->pid;
    levels = own_id(&task, "NSpid:", &ret->pr_pid);
    ret->pr_ppid = own_parent(&task, levels);
    own_id(&task, "NSpgid:", &ret->pr_pgrp);
    own_id(&task, "NSsid:", &ret->pr_sid);
    fill_state(record, &task, ret);
    live_thread_name(record, record->pid, name);
    memcpy(ret->pr_fname, name, sizeof(ret->pr_fname));
    fill_arguments(record, ret);
}

void live_thread_name(const struct crash_record *record, pid_t tid, char ret[17])
{
    memset(ret, 0, 17);
    read_proc(ret, 17, "/proc/%d/task/%d/comm", record->pid, tid);
}
