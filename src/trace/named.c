#include "trace/named.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/tracee.h"
#include "util/io.h"
#include "util/pid_reader.h"
#include "util/proc_text.h"

#define COMM_BYTES 16 /* with its end: linux/sched.h, TASK_COMM_LEN */

static void read_comm(pid_t pid, char ret[COMM_BYTES])
{
    char path[32], text[COMM_BYTES + 1];

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    if (read_text_at(AT_FDCWD, path, text, sizeof(text)) < 0)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    memcpy(ret, text, COMM_BYTES);
    ret[COMM_BYTES - 1] = '\0';
}

static void read_first_word(pid_t pid, char *ret, size_t size)
{
    char path[32], text[4096];
    const char *slash;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    if (read_text_at(AT_FDCWD, path, text, sizeof(text)) < 0)
        text[0] = '\0';
    slash = strrchr(text, '/');
    snprintf(ret, size, "%s", slash ? slash + 1 : text);
}

void named_read(pid_t pid, char *ret, size_t size)
{
    char comm[COMM_BYTES];

    read_first_word(pid, ret, size);
    if (ret[0])
        return;
    read_comm(pid, comm);
    snprintf(ret, size, "%s", comm);
}

bool named_is(pid_t pid, const char *name)
{
    char comm[COMM_BYTES], word[256];

    read_comm(pid, comm);
    if (comm[0] && strncmp(comm, name, COMM_BYTES - 1) == 0)
        return true;
    read_first_word(pid, word, sizeof(word));
    return word[0] && strcmp(word, name) == 0;
}

static bool has_ancestor_of_name(pid_t pid, const char *name)
{
    for (int i = 0; i < MOST_GENERATIONS && (pid = tracee_parent(pid)) > 0; i++)
        if (named_is(pid, name))
            return true;
    return false;
}

static unsigned long long start_of(pid_t pid)
{
    char path[32], stat[1024];
    const char *start;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_text_at(AT_FDCWD, path, stat, sizeof(stat)) < 0)
        return 0;
    start = proc_stat_field(stat, PROC_STAT_STARTTIME);
    return start ? strtoull(start, NULL, 10) : 0;
}

/* Keeps the oldest where there is no room for all. */
static void insert(pid_t pid, pid_t *ret, size_t count, size_t room)
{
    size_t at = count < room ? count : room;

    while (at > 0 && start_of(ret[at - 1]) > start_of(pid)) {
        if (at < room)
            ret[at] = ret[at - 1];
        at--;
    }
    if (at < room)
        ret[at] = pid;
}

size_t named_find(const char *name, pid_t *ret, size_t room)
{
    struct pid_reader processes;
    size_t count = 0;
    pid_t pid;

    if (pid_reader_open(&processes, "/proc") == 0)
        while ((pid = pid_reader_next(&processes))) {
            if (pid == getpid() || !named_is(pid, name) || tracee_has_ended(pid) ||
                has_ancestor_of_name(pid, name))
                continue;
            insert(pid, ret, count++, room);
        }
    pid_reader_close(&processes);
    return count;
}
