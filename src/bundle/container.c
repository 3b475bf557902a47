#include "bundle/container.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/io.h"
#include "util/proc_text.h"

#define ID_DIGITS 64

/* The mount table's beginning; a container's /etc/hostname is among its first mounts. */
#define MOUNTINFO_SIZE (64 * 1024)

#define HEX_DIGITS "0123456789abcdef"

static ssize_t read_text(const char *root, const char *path, char *ret, size_t size)
{
    char full[2 * PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", root, path);
    return read_text_at(AT_FDCWD, full, ret, size);
}

static void read_environment(struct container *ret)
{
    const struct {
        const char *name;
        char *text;
        size_t size;
    } names[] = {
        {"POD_NAME", ret->pod_name, sizeof(ret->pod_name)},
        {"POD_NAMESPACE", ret->pod_namespace, sizeof(ret->pod_namespace)},
        {"POD_UID", ret->pod_uid, sizeof(ret->pod_uid)},
        {"NODE_NAME", ret->node_name, sizeof(ret->node_name)},
    };
    const char *ecs = getenv("ECS_CONTAINER_METADATA_URI_V4");
    const char *id = ecs ? strrchr(ecs, '/') : NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i].name);

        snprintf(names[i].text, names[i].size, "%s", value ? value : "");
    }
    if (id)
        snprintf(ret->ecs_container, sizeof(ret->ecs_container), "%s", id + 1);
    if (getenv("KUBERNETES_SERVICE_HOST"))
        ret->orchestrator = ORCHESTRATOR_KUBERNETES;
    if (ecs)
        ret->orchestrator = ORCHESTRATOR_ECS;
}

/* Finds the last run of exactly 64 hex digits: the innermost container where they are nested. */
static void find_last_id(const char *text, char *ret)
{
    while (*text) {
        size_t digits = strspn(text, HEX_DIGITS);

        if (digits == ID_DIGITS)
            memcpy(ret, text, ID_DIGITS);
        text += digits;
        text += strcspn(text, HEX_DIGITS);
    }
}

/*
 * Docker mounts /var/lib/docker/containers/ID/hostname, and the mount table shows it also where a
 * cgroup namespace hides the cgroup's path. Kubernetes' runtimes mount files of the pod's sandbox,
 * whose id is another, from folders of other names.
 */
static void find_mounted_id(const char *mountinfo, char *ret)
{
    static const char folder[] = "/containers/";

    while ((mountinfo = strstr(mountinfo, folder))) {
        mountinfo += strlen(folder);
        if (strspn(mountinfo, HEX_DIGITS) == ID_DIGITS && mountinfo[ID_DIGITS] == '/') {
            memcpy(ret, mountinfo, ID_DIGITS);
            return;
        }
    }
}

/* Where a version of cgroups keeps what we want. */
static const struct cgroup_files {
    const char *mount;
    const char *usage, *limit, *peak;
    const char *cache; /* a line of memory.stat */
} cgroup_v1 = {"/sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.limit_in_bytes",
               "memory.max_usage_in_bytes", "total_inactive_file"},
  cgroup_v2 = {"/sys/fs/cgroup", "memory.current", "memory.max", "memory.peak", "inactive_file"};

/*
 * Finds the memory cgroup in the text of /proc/self/cgroup: "ID:memory:PATH" where version 1 has
 * the controller (other controllers may share its line), else "0::PATH".
 */
static const struct cgroup_files *find_cgroup(const char *text, char *ret_path, size_t size)
{
    const struct cgroup_files *found = NULL;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        char controllers[256] = "", path[1024] = "";

        line += *line == '\n';
        if (sscanf(line, "%*d:%255[^:\n]:%1023[^\n]", controllers, path) == 2) {
            char framed[sizeof(controllers) + 2];

            snprintf(framed, sizeof(framed), ",%s,", controllers);
            if (strstr(framed, ",memory,")) {
                snprintf(ret_path, size, "%s", path);
                return &cgroup_v1;
            }
        } else if (sscanf(line, "0::%1023[^\n]", path) == 1) {
            snprintf(ret_path, size, "%s", path);
            found = &cgroup_v2;
        }
    }
    return found;
}

/*
 * Reads a cgroup's file. A container that sees the host's paths has only its own part of the tree
 * mounted, as the root: the path is tried, then the root.
 */
static bool read_file(const char *root, const char *mount, const char *cgroup, const char *file,
                      char *ret, size_t size)
{
    const char *const folders[] = {cgroup, ""};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, sizeof(path), "%s%s/%s", mount, folders[i], file);
        if (read_text(root, path, ret, size) > 0)
            return true;
    }
    return false;
}

static uint64_t read_number(const char *root, const char *mount, const char *cgroup,
                            const char *file)
{
    char text[32];
    uint64_t value;
    char *end;

    if (!read_file(root, mount, cgroup, file, text, sizeof(text)))
        return 0;
    if (strcmp(text, "max") == 0)
        return MEMORY_UNLIMITED;
    value = strtoull(text, &end, 10);
    /* Version 1 says "no limit" as the largest multiple of the page size. */
    return *end ? 0 : value > INT64_MAX - 64 * 1024 ? MEMORY_UNLIMITED : value;
}

static uint64_t read_cache(const char *root, const struct cgroup_files *files, const char *cgroup)
{
    char text[8192];
    const char *cache;

    if (!read_file(root, files->mount, cgroup, "memory.stat", text, sizeof(text)))
        return 0;
    cache = proc_line(text, files->cache);
    return cache && *cache == ' ' ? strtoull(cache, NULL, 10) : 0;
}

static void read_memory(const char *root, const char *cgroups, struct container *ret)
{
    const struct cgroup_files *files = find_cgroup(cgroups, ret->cgroup, sizeof(ret->cgroup));

    if (!files)
        return;
    ret->memory_usage = read_number(root, files->mount, ret->cgroup, files->usage);
    ret->memory_limit = read_number(root, files->mount, ret->cgroup, files->limit);
    ret->memory_peak = read_number(root, files->mount, ret->cgroup, files->peak);
    ret->memory_cache = read_cache(root, files, ret->cgroup);
}

/* @proc is a process's directory, @root where it has /sys. */
static void read_process(const char *proc, const char *root, struct container *ret)
{
    char text[MOUNTINFO_SIZE];

    if (read_text(proc, "/cgroup", text, sizeof(text)) > 0) {
        find_last_id(text, ret->id);
        read_memory(root, text, ret);
    }
    if (!ret->id[0] && read_text(proc, "/mountinfo", text, sizeof(text)) > 0)
        find_mounted_id(text, ret->id);
}

void container_read(const char *root, struct container *ret)
{
    char proc[PATH_MAX];

    memset(ret, 0, sizeof(*ret));
    read_environment(ret);
    snprintf(proc, sizeof(proc), "%s/proc/self", root);
    read_process(proc, root, ret);
}

void container_read_of(pid_t pid, int root_fd, struct container *ret)
{
    char proc[32], root[48];

    memset(ret, 0, sizeof(*ret));
    read_environment(ret);
    ret->ecs_container[0] = '\0';
    snprintf(proc, sizeof(proc), "/proc/%d", pid);
    snprintf(root, sizeof(root), "/proc/self/fd/%d", root_fd);
    read_process(proc, root, ret);
}
