#include "init/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

#define LOOK_MS 5000

/* A process that is killed may take that long to die: gigabytes are given back first. */
#define DEATH_MS 15000

/* Of a cgroup, or of a mount's root in its hierarchy. */
#define LONGEST_PATH 1024

/*
 * The path of this process in the hierarchy: "ID:memory:PATH" of version 1 (other controllers may
 * share the line), else "0::PATH" of version 2.
 */
static bool find_path(const char *cgroups, bool *ret_is_v1, char ret[LONGEST_PATH])
{
    bool is_found = false;

    for (const char *line = cgroups; line; line = strchr(line, '\n')) {
        char controllers[256], path[LONGEST_PATH];

        line += *line == '\n';
        if (sscanf(line, "%*d:%255[^:\n]:%1023[^\n]", controllers, path) == 2) {
            char framed[sizeof(controllers) + 2];

            snprintf(framed, sizeof(framed), ",%s,", controllers);
            if (strstr(framed, ",memory,")) {
                *ret_is_v1 = true;
                strcpy(ret, path);
                return true;
            }
        } else if (sscanf(line, "0::%1023[^\n]", path) == 1) {
            *ret_is_v1 = false;
            strcpy(ret, path);
            is_found = true;
        }
    }
    return is_found;
}

/* Whether the mount is of the hierarchy: its type, and for version 1 its controllers, which are the
 * last field. */
static bool is_of_hierarchy(const char *mountinfo, bool is_v1)
{
    const char *separator = strstr(mountinfo, " - ");
    char type[16], options[256], framed[sizeof(options) + 2];

    if (!separator || sscanf(separator, " - %15s %*s %255s", type, options) != 2)
        return false;
    snprintf(framed, sizeof(framed), ",%s,", options);
    return is_v1 ? strcmp(type, "cgroup") == 0 && strstr(framed, ",memory,")
                 : strcmp(type, "cgroup2") == 0;
}

bool oom_find(const char *cgroups, const char *mountinfo, char *ret, size_t size)
{
    char path[LONGEST_PATH], root[LONGEST_PATH], mount[LONGEST_PATH];
    const char *below = "";
    size_t length;
    bool is_v1;

    if (!find_path(cgroups, &is_v1, path) || !is_of_hierarchy(mountinfo, is_v1) ||
        sscanf(mountinfo, "%*d %*d %*s %1023s %1023s", root, mount) != 2)
        return false;
    /* A container that sees the host's paths has its own part of the tree mounted as the root; one
     * with a cgroup namespace sees "/", or "/../.." of what is mounted from outside. */
    length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, length) == 0 && path[length] == '/' && path[length + 1] &&
        strncmp(path, "/..", 3) != 0)
        below = path + length;
    return snprintf(ret, size, "%s%s/%s", mount, below,
                    is_v1 ? "memory.oom_control" : "memory.events") < (int)size;
}

bool oom_parse(const char *text, uint64_t *ret)
{
    const char *count = proc_line(text, "oom_kill ");

    if (!count || *count < '0' || *count > '9')
        return false;
    *ret = strtoull(count, NULL, 10);
    return true;
}

/* Reads the counters. Once all kills are accounted for, those are what later ones are compared
 * with. */
static void read_counters(struct oom *oom)
{
    ssize_t n = -1;

    if (oom->count == oom->told)
        strcpy(oom->before, oom->now);
    if (oom->fd >= 0)
        n = pread_full(oom->fd, oom->now, sizeof(oom->now) - 1, 0);
    oom->now[n > 0 ? n : 0] = '\0';
    if (!oom_parse(oom->now, &oom->count))
        oom->count = oom->told;
}

void oom_open(struct oom *ret)
{
    char cgroups[8192], path[PATH_MAX], *line = NULL;
    _cleanup_fclose_ FILE *mounts = fopen("/proc/self/mountinfo", "re");
    size_t size = 0;

    *ret = (struct oom){.fd = -1, .next = INT64_MAX};
    if (!mounts || read_text_at(AT_FDCWD, "/proc/self/cgroup", cgroups, sizeof(cgroups)) < 0)
        return;
    while (ret->fd < 0 && getline(&line, &size, mounts) > 0)
        if (oom_find(cgroups, line, path, sizeof(path)))
            ret->fd = open(path, O_RDONLY | O_CLOEXEC);
    free(line);
    if (ret->fd < 0)
        log_info("an OOM kill can't be told from another SIGKILL: the memory cgroup isn't there");
}

void oom_begin(struct oom *oom, int64_t now_ms)
{
    read_counters(oom);
    oom->told = oom->count;
    strcpy(oom->before, oom->now);
    oom->next = oom->fd >= 0 ? now_ms + LOOK_MS : INT64_MAX;
}

bool oom_claims(struct oom *oom)
{
    read_counters(oom);
    if (oom->count <= oom->told)
        return false;
    oom->told++;
    return true;
}

void oom_look(struct oom *oom, int64_t now_ms)
{
    const uint64_t before = oom->count;

    if (now_ms < oom->next)
        return;
    oom->next = now_ms + LOOK_MS;
    read_counters(oom);
    if (oom->count > before)
        oom->risen = now_ms;
    if (oom->count <= oom->told || now_ms - oom->risen < DEATH_MS)
        return;
    log_notice("the kernel killed %" PRIu64 " other process%s of this container for want of memory",
               oom->count - oom->told, oom->count - oom->told == 1 ? "" : "es");
    oom->told = oom->count;
}

void oom_testify(struct oom *oom, struct crash_record *record)
{
    strcpy(record->memory_events[0], oom->before);
    strcpy(record->memory_events[1], oom->now);
}
