/* What a bundle needs: a place, room, memory, and a gdb where there is one. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bundle/name.h"
#include "capture/gdb.h"
#include "ctl/doctor.h"

/* zlib at its fastest; programs' memory is mostly zeros and pointers. */
#define LIKELY_COMPRESSION 4

/* What the code and data of libc alone come to in a core's zip. */
#define SMALLEST_ZIP ((uint64_t)1 << 20)

/* What corectl needs at most, without gdb. */
#define COLLECTOR_BYTES ((uint64_t)64 << 20)

/* The files of a bundle, and gdb's stack trace before it takes the place of the first one. */
#define BUNDLE_INODES 6

static bool has_bucket(const struct doctor *doctor)
{
    return doctor->coreinit.settings.bucket[0] != '\0';
}

static bool reaches_bucket(const struct doctor *doctor)
{
    return has_bucket(doctor) && doctor->probe.failed >= S3_PROBE_DELETE;
}

bool doctor_place_lasts(const struct doctor *doctor)
{
    const struct spool_place *place = &doctor->place;

    return !doctor->is_container || (place->is_own_mount && !place->is_memory);
}

static uint64_t likely_zip(const struct doctor *doctor)
{
    return SMALLEST_ZIP + doctor->size / LIKELY_COMPRESSION;
}

bool doctor_has_room(const struct doctor *doctor)
{
    return doctor->place.free_bytes >= likely_zip(doctor) &&
           doctor->place.free_inodes >= BUNDLE_INODES;
}

static void mend_cores_dir(struct finding *ret)
{
    finding_mend(ret,
                 "-v /var/cores:/cores, writable for the container's user; or -e S3_BUCKET=...",
                 "volumes and mountPoints at /cores (EFS on Fargate), or S3_BUCKET in environment",
                 "volumeMounts at /cores (hostPath, or a PersistentVolumeClaim, with fsGroup), or "
                 "S3_BUCKET in env");
}

/* As a word after the path, and what that means where bundles stay there. */
static const char *place_text(const struct doctor *doctor, const char **ret_fate)
{
    const struct spool_place *place = &doctor->place;

    *ret_fate = "Bundles stay there.";
    if (!doctor->is_container)
        return "a directory of this machine";
    if (place->is_memory) {
        *ret_fate = "Bundles are in memory there, and go with the container.";
        return "a tmpfs";
    }
    if (!place->is_own_mount) {
        *ret_fate = "Bundles go with the container.";
        return "in the container's own layer";
    }
    if (doctor->container.orchestrator == ORCHESTRATOR_KUBERNETES)
        *ret_fate = "Bundles outlive the container; in an emptyDir they go with the pod.";
    else if (doctor->container.orchestrator == ORCHESTRATOR_ECS)
        *ret_fate = "Bundles outlive the container; on Fargate they go with the task, unless the "
                    "volume is EFS.";
    else
        *ret_fate = "Bundles outlive the container.";
    return "on a volume";
}

void check_cores_dir(const struct doctor *doctor, struct finding *ret)
{
    const struct spool_place *place = &doctor->place;
    const char *path = doctor->coreinit.settings.cores_dir;
    const char *fate, *kind = place_text(doctor, &fate);

    if (doctor->coreinit.error[0]) {
        finding_is(ret, CHECK_SKIPPED, "without coreinit there is none");
        return;
    }
    if (!path[0]) {
        finding_is(ret, reaches_bucket(doctor) ? CHECK_OK : CHECK_FAIL, "none, as asked");
        finding_means(ret, reaches_bucket(doctor)
                               ? "A bundle goes straight to S3; what fails on the way is lost."
                               : "There is no place for a bundle.");
        if (ret->state != CHECK_OK)
            mend_cores_dir(ret);
        return;
    }
    if (place->error) {
        finding_is(ret, reaches_bucket(doctor) ? CHECK_WARNING : CHECK_FAIL, "%s can't be %s (%s)",
                   path, place->exists ? "written" : "made",
                   place->error == -ENOTDIR ? "it isn't a directory; a link to one isn't followed"
                                            : strerrordesc_np(-place->error));
        finding_means(ret, reaches_bucket(doctor)
                               ? "A bundle goes straight to S3; what fails on the way is lost."
                               : "There is no place for a bundle.");
        mend_cores_dir(ret);
        return;
    }
    finding_is(ret, doctor_place_lasts(doctor) || reaches_bucket(doctor) ? CHECK_OK : CHECK_FAIL,
               "%s, %s, %s", path, kind,
               place->exists ? "can be written" : "isn't there yet and can be made");
    if (reaches_bucket(doctor) && doctor->coreinit.settings.keep_local != KEEP_ALWAYS)
        finding_means(ret, "Bundles are removed there once all of them is in S3.");
    else
        finding_means(ret, "%s%s", fate,
                      reaches_bucket(doctor) ? " They are sent to S3 as well." : "");
    if (ret->state != CHECK_OK)
        mend_cores_dir(ret);
}

/* What is free, and of what has no room. */
static void tell_room(const struct doctor *doctor, enum check_state state, struct finding *ret)
{
    const struct spool_place *place = &doctor->place;
    const char *path = doctor->coreinit.settings.cores_dir;
    char free_text[32], size[32], zip[32];

    size_text(place->free_bytes, free_text, sizeof(free_text));
    size_text(doctor->size, size, sizeof(size));
    size_text(likely_zip(doctor), zip, sizeof(zip));
    if (place->free_inodes < BUNDLE_INODES)
        finding_is(ret, state, "%llu inodes are free in %s, and a bundle has up to %d files",
                   (unsigned long long)place->free_inodes, path, BUNDLE_INODES);
    else if (doctor->size == 0)
        finding_is(ret, state, "%s are free in %s", free_text, path);
    else
        finding_is(ret, state,
                   "%s are free in %s; %s has %s in memory and mapped files, zipped about %s",
                   free_text, path, doctor->target.name, size, zip);
}

/* Returns whether a limit of the cores dir is smaller than what a single bundle is going to take.
 */
static bool tell_low_limits(const struct doctor *doctor, struct finding *ret)
{
    const struct crash_settings *settings = &doctor->coreinit.settings;
    const uint64_t zip = likely_zip(doctor), free_bytes = doctor->place.free_bytes;
    char limit[32], text[32];

    if (settings->max_use && settings->max_use < zip)
        finding_is(ret, CHECK_WARNING, "max_use is %s, and a core's zip would be about %s",
                   size_text(settings->max_use, limit, sizeof(limit)),
                   size_text(zip, text, sizeof(text)));
    else if (settings->keep_free > free_bytes)
        finding_is(ret, CHECK_WARNING, "keep_free is %s, and %s are free in %s",
                   size_text(settings->keep_free, limit, sizeof(limit)),
                   size_text(free_bytes, text, sizeof(text)), settings->cores_dir);
    else if (settings->max_files && settings->max_files < ARTIFACT_KINDS)
        finding_is(ret, CHECK_WARNING, "max_files is %u, and a bundle has up to %d files",
                   settings->max_files, ARTIFACT_KINDS);
    else
        return false;
    finding_means(ret,
                  "A bundle that was sent is removed at once. One that wasn't stays while it is "
                  "the newest.");
    finding_mend(ret, "-e COREINIT_MAX_USE, COREINIT_KEEP_FREE, COREINIT_MAX_FILES: another limit",
                 "COREINIT_MAX_USE, COREINIT_KEEP_FREE, COREINIT_MAX_FILES in environment",
                 "COREINIT_MAX_USE, COREINIT_KEEP_FREE, COREINIT_MAX_FILES in env");
    return true;
}

void check_space(const struct doctor *doctor, struct finding *ret)
{
    const struct spool_place *place = &doctor->place;

    if (doctor->coreinit.error[0] || place->error) {
        finding_is(ret, CHECK_SKIPPED, "there is no cores dir to look at");
        return;
    }
    if (!doctor_has_room(doctor)) {
        tell_room(doctor, reaches_bucket(doctor) ? CHECK_WARNING : CHECK_FAIL, ret);
        finding_means(ret, "%s",
                      reaches_bucket(doctor)
                          ? "The core goes straight to S3."
                          : "The core doesn't fit, and there is no other place.");
    } else if (tell_low_limits(doctor, ret)) {
        return;
    } else if (place->free_bytes < doctor->size + doctor->executable_size) {
        tell_room(doctor, CHECK_WARNING, ret);
        finding_means(ret, "A core that compresses badly may not fit, or executable and libraries "
                           "beside it.");
    } else {
        tell_room(doctor, CHECK_OK, ret);
        finding_means(ret, doctor->size ? "There is room for a bundle."
                                        : "How large the program will be isn't known; a core has "
                                          "what is in its memory, the zip about a quarter of "
                                          "that.");
        return;
    }
    finding_mend(ret, "a larger volume at /cores, or -e S3_BUCKET=...",
                 "ephemeralStorage, a larger volume, or S3_BUCKET",
                 "a larger sizeLimit or volume, or S3_BUCKET");
}

void check_gdb(const struct doctor *doctor, struct finding *ret)
{
    char path[PATH_MAX], version[128];

    (void)doctor;
    if (gdb_find(path, sizeof(path)) < 0) {
        finding_is(ret, CHECK_OK, "none");
        finding_means(ret, "The stack trace is libdw's: functions and lines of all threads, no "
                           "variables. An image of coreinit with gdb (--build-arg WITH_GDB=1) has "
                           "them.");
        return;
    }
    gdb_version(path, version, sizeof(version));
    finding_is(ret, version[0] ? CHECK_OK : CHECK_WARNING, "%s%s%s", path,
               version[0] ? ", " : " doesn't tell its version", version);
    finding_means(ret, version[0] ? "Its fuller text takes the place of libdw's stack trace."
                                  : "It may not work here: the stack trace will be libdw's.");
}

void check_memory(const struct doctor *doctor, struct finding *ret)
{
    const struct container *container = &doctor->container;
    const uint64_t used = container->memory_usage > container->memory_cache
                              ? container->memory_usage - container->memory_cache
                              : 0;
    uint64_t headroom;
    char limit[32], left[32];

    if (container->memory_limit == 0) {
        finding_is(ret, CHECK_SKIPPED, "the memory cgroup can't be read");
        return;
    }
    if (container->memory_limit == MEMORY_UNLIMITED) {
        finding_is(ret, CHECK_OK, "the memory cgroup has no limit");
        finding_means(ret, "The collector (64 MiB at most) has what the machine has.");
        return;
    }
    headroom = container->memory_limit > used ? container->memory_limit - used : 0;
    finding_is(ret, headroom < COLLECTOR_BYTES ? CHECK_WARNING : CHECK_OK,
               "%s of %s are left in the memory cgroup", size_text(headroom, left, sizeof(left)),
               size_text(container->memory_limit, limit, sizeof(limit)));
    if (ret->state == CHECK_OK) {
        finding_means(ret, "The collector has the 64 MiB that it needs at most.");
        return;
    }
    finding_means(ret, strcmp(doctor->prospect.mode, "ptrace") == 0
                           ? "The process keeps its memory while it is held, and the OOM killer "
                             "may end the collector, or the process: the core would be lost."
                           : "The OOM killer may end the collector. The kernel's core stays where "
                             "it was written.");
    finding_mend(ret, "-m: 64 MiB more", "memory: 64 more; memoryReservation alone is no limit",
                 "resources.limits.memory: 64Mi more");
}
