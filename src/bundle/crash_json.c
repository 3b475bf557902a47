#include "bundle/crash_json.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bundle/crash_cause.h"
#include "bundle/json_value.h"
#include "bundle/json_write.h"
#include "bundle/process_text.h"
#include "bundle/signal_codes.h"
#include "capture/crash_facts.h"
#include "util/child.h"

#define TEXT(array) json_text(array, sizeof(array))
#define KNOWN_TEXT(array) json_known_text(array, sizeof(array))

/*
 * Whether the core alone tells who crashed: a shell that reports 128+N was reaped, but the core is
 * that of a descendant; or nobody waited for it: a core appeared, or was left by an earlier life.
 */
static bool is_known_by_core(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;

    return (record->wait_code == CLD_EXITED || record->wait_code == 0) && !bundle->snapshot &&
           bundle->info && bundle->info->pid > 0;
}

/* The process that crashed. */
static pid_t crashed_pid(const struct bundle *bundle)
{
    return is_known_by_core(bundle) ? bundle->info->pid : bundle->record->pid;
}

/* In its own namespace, as the process is too. */
static pid_t first_thread(const struct bundle *bundle)
{
    const struct core_info *info = bundle->info;

    if (bundle->snapshot && info && info->n_threads > 0)
        return info->threads[0].tid;
    return info ? info->crash_tid : 0;
}

static enum crash_cause cause_of(const struct bundle *bundle)
{
    return bundle->snapshot ? CAUSE_SNAPSHOT
                            : crash_cause_of(bundle->record, is_known_by_core(bundle));
}

static int signal_number(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;

    if (record->wait_code == CLD_KILLED || record->wait_code == CLD_DUMPED)
        return record->wait_status;
    if (cause_of(bundle) == CAUSE_OOM_KILL) /* a shell's 137 */
        return SIGKILL;
    return bundle->info ? bundle->info->signo : 0;
}

/* RFC 3339, section 5.6: years have four digits. Microseconds are what most parsers take. */
static json_t *time_to_json(const struct timespec *when)
{
    char text[64];
    struct tm tm;
    size_t used;

    if (when->tv_sec < 0 || when->tv_nsec < 0 || when->tv_nsec > 999999999 ||
        !gmtime_r(&when->tv_sec, &tm) || tm.tm_year > 9999 - 1900)
        return json_null();
    used = strftime(text, sizeof(text), "%FT%T", &tm);
    snprintf(text + used, sizeof(text) - used, ".%06ldZ", when->tv_nsec / 1000);
    return json_string_nocheck(text);
}

static json_t *signal_to_json(const struct bundle *bundle)
{
    int number = signal_number(bundle);
    const struct core_info *info = bundle->info;
    bool has_code = info && info->has_siginfo;
    bool is_sent = has_code && signal_code_has_sender(info->si_code);
    bool has_address = has_code && signal_code_has_address(number, info->si_code);
    const char *abbreviation = sigabbrev_np(number);
    char name[32] = "";

    if (abbreviation)
        snprintf(name, sizeof(name), "SIG%s", abbreviation);
    return json_object_of((const struct json_field[]){
        {"name", KNOWN_TEXT(name)},
        {"number", json_known_integer(number > 0, number)},
        {"code", json_known_integer(has_code, has_code ? info->si_code : 0)},
        {"code_name",
         json_known_text(has_code ? signal_code_name(number, info->si_code) : NULL, SIZE_MAX)},
        {"address", has_address ? json_hex(info->fault_address) : json_null()},
        {"sender_pid", json_known_integer(is_sent, is_sent ? info->sender_pid : 0)},
        {"sender_uid", json_known_integer(is_sent, is_sent ? (int64_t)info->sender_uid : 0)},
        {NULL, NULL},
    });
}

/* The NUL-separated arguments, null where there are none. */
static json_t *argv_to_json(const struct crash_record *record)
{
    size_t size = record->cmdline_size;
    json_t *argv;

    if (size > sizeof(record->cmdline))
        size = sizeof(record->cmdline);
    if (size == 0)
        return json_null();
    argv = json_array();
    for (size_t at = 0, length; at < size; at += length + 1) {
        length = strnlen(record->cmdline + at, size - at);
        if (json_array_append_new(argv, json_text(record->cmdline + at, length)) < 0) {
            json_decref(argv);
            return NULL;
        }
    }
    return argv;
}

/* The process that coreinit reaped, where it wasn't the one that crashed. */
static json_t *reporter_to_json(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;
    const bool is_reported = is_known_by_core(bundle) && record->wait_code == CLD_EXITED;
    char comm[64] = "";

    if (is_reported)
        process_comm(record->stat, comm, sizeof(comm));
    return json_object_of((const struct json_field[]){
        {"pid", json_known_integer(is_reported, record->pid)},
        {"comm", KNOWN_TEXT(comm)},
        {NULL, NULL},
    });
}

static json_t *uptime_to_json(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;
    struct crash_facts facts = crash_facts_of(record);
    double seconds;

    if (is_known_by_core(bundle) || !facts.knows_start)
        return json_null();
    seconds = (double)(record->ended_realtime.tv_sec - facts.started.tv_sec) +
              (double)(record->ended_realtime.tv_nsec - facts.started.tv_nsec) / 1e9;
    return json_real(seconds);
}

static json_t *modules_to_json(const struct core_info *info)
{
    json_t *modules;

    if (!info)
        return json_null();
    modules = json_array();
    for (size_t i = 0; i < info->n_modules; i++) {
        const struct core_module *module = &info->modules[i];
        json_t *object = json_object_of((const struct json_field[]){
            {"path", json_text(module->path, SIZE_MAX)},
            {"build_id", KNOWN_TEXT(module->build_id)},
            {"address", json_hex(module->start)},
            {NULL, NULL},
        });

        if (json_array_append_new(modules, object) < 0) {
            json_decref(modules);
            return NULL;
        }
    }
    return modules;
}

static json_t *capture_to_json(const struct bundle *bundle)
{
    const struct crash_record *record = bundle->record;
    const struct core_info *core = bundle->info;

    if (core && core->file_size == 0) /* told by the maps alone */
        core = NULL;
    return json_object_of((const struct json_field[]){
        {"mode", KNOWN_TEXT(record->capture_mode)},
        {"why", KNOWN_TEXT(record->capture_why)},
        {"source", json_known_text(bundle->capture_source, SIZE_MAX)},
        {"no_core", KNOWN_TEXT(bundle->no_core)},
        {"core_size",
         core ? json_size(bundle->is_cut ? bundle->cut_at : core->file_size) : json_null()},
        {"expected_size", core ? json_size(core->expected_size) : json_null()},
        {"truncated", core ? json_boolean(core->truncated || bundle->is_cut) : json_null()},
        {"unreadable", bundle->knows_unreadable ? json_size(bundle->unreadable) : json_null()},
        {"attempt", json_known_integer(record->attempt > 0, record->attempt)},
        {NULL, NULL},
    });
}

static json_t *limit_to_json(uint64_t limit)
{
    return limit == PROCESS_UNLIMITED ? json_string_nocheck("unlimited") : json_size(limit);
}

/* All of /proc/PID/limits, by the names of setrlimit(2). */
static json_t *limits_to_json(const char *text)
{
    static const char *const names[][2] = {
        {"core", "Max core file size"},      {"cpu", "Max cpu time"},
        {"fsize", "Max file size"},          {"data", "Max data size"},
        {"stack", "Max stack size"},         {"rss", "Max resident set"},
        {"nproc", "Max processes"},          {"nofile", "Max open files"},
        {"memlock", "Max locked memory"},    {"as", "Max address space"},
        {"locks", "Max file locks"},         {"sigpending", "Max pending signals"},
        {"msgqueue", "Max msgqueue size"},   {"nice", "Max nice priority"},
        {"rtprio", "Max realtime priority"}, {"rttime", "Max realtime timeout"},
    };
    enum { N_LIMITS = sizeof(names) / sizeof(names[0]) };
    struct json_field fields[N_LIMITS + 1] = {0};

    for (size_t i = 0; i < N_LIMITS; i++) {
        uint64_t soft, hard;
        bool known = process_limit(text, names[i][1], &soft, &hard);

        fields[i].key = names[i][0];
        fields[i].value = json_object_of((const struct json_field[]){
            {"soft", known ? limit_to_json(soft) : json_null()},
            {"hard", known ? limit_to_json(hard) : json_null()},
            {NULL, NULL},
        });
    }
    return json_object_of(fields);
}

static json_t *cgroup_to_json(const struct bundle *bundle)
{
    const struct container *container = &bundle->container;
    uint64_t usage = container->memory_usage, limit = container->memory_limit;
    uint64_t peak = container->memory_peak, oom_kills = 0;
    bool knows_kills = crash_oom_kills(bundle->record, &oom_kills);

    return json_object_of((const struct json_field[]){
        {"path", KNOWN_TEXT(container->cgroup)},
        {"memory_usage", usage ? json_size(usage) : json_null()},
        {"memory_limit", limit ? limit_to_json(limit) : json_null()},
        {"memory_peak", peak ? json_size(peak) : json_null()},
        {"oom_kills", knows_kills ? json_size(oom_kills) : json_null()},
        {NULL, NULL},
    });
}

static json_t *container_to_json(const struct container *container)
{
    static const char *const orchestrators[] = {
        [ORCHESTRATOR_UNKNOWN] = NULL,
        [ORCHESTRATOR_ECS] = "ecs",
        [ORCHESTRATOR_KUBERNETES] = "kubernetes",
    };

    return json_object_of((const struct json_field[]){
        {"id", KNOWN_TEXT(container->id)},
        {"orchestrator", json_known_text(orchestrators[container->orchestrator], SIZE_MAX)},
        {"ecs_container", KNOWN_TEXT(container->ecs_container)},
        {"pod_name", KNOWN_TEXT(container->pod_name)},
        {"pod_namespace", KNOWN_TEXT(container->pod_namespace)},
        {"pod_uid", KNOWN_TEXT(container->pod_uid)},
        {"node_name", KNOWN_TEXT(container->node_name)},
        {"ecs_cluster", KNOWN_TEXT(container->ecs_cluster)},
        {"ecs_task_arn", KNOWN_TEXT(container->ecs_task_arn)},
        {"ecs_container_name", KNOWN_TEXT(container->ecs_container_name)},
        {"image", KNOWN_TEXT(container->image)},
        {"image_digest", KNOWN_TEXT(container->image_digest)},
        {"ec2_instance_id", KNOWN_TEXT(container->ec2_instance_id)},
        {NULL, NULL},
    });
}

static json_t *kernel_to_json(void)
{
    struct utsname name = {0};

    (void)uname(&name);
    return json_object_of((const struct json_field[]){
        {"release", KNOWN_TEXT(name.release)},
        {"version", KNOWN_TEXT(name.version)},
        {"machine", KNOWN_TEXT(name.machine)},
        {NULL, NULL},
    });
}

/* All null of a crash. */
static json_t *snapshot_to_json(const struct snapshot_facts *facts)
{
    const bool is_over = facts && facts->pause_ms >= 0;

    return json_object_of((const struct json_field[]){
        {"pause_ms", is_over ? json_real(facts->pause_ms) : json_null()},
        {"method", json_known_text(facts ? facts->method : NULL, SIZE_MAX)},
        {"why", json_known_text(facts ? facts->why : NULL, SIZE_MAX)},
        {NULL, NULL},
    });
}

void snapshot_facts_end(struct snapshot_facts *facts)
{
    if (facts->pause_ms < 0)
        facts->pause_ms = (double)(monotonic_ns() - facts->began_ns) / 1e6;
}

static json_t *artifact_to_json(const struct bundle *bundle, enum artifact_kind kind, bool complete)
{
    const struct artifact *artifact = &bundle->artifacts[kind];
    bool made = complete && artifact->made;
    char file[sizeof(bundle->id) + 32];

    snprintf(file, sizeof(file), "%s%s", bundle->id, artifact_suffixes[kind]);
    return json_object_of((const struct json_field[]){
        {"file", made ? TEXT(file) : json_null()},
        {"size", made ? json_size(artifact->size) : json_null()},
        {"sha256", made ? KNOWN_TEXT(artifact->sha256) : json_null()},
        {"in_cores_dir", complete ? json_boolean(artifact->in_cores_dir) : json_null()},
        {"in_s3", complete ? json_boolean(artifact->in_s3) : json_null()},
        {"error", complete ? KNOWN_TEXT(artifact->error) : json_null()},
        {NULL, NULL},
    });
}

/* All but crash.json, which can't tell its own digest. */
static json_t *artifacts_to_json(const struct bundle *bundle, bool complete)
{
    return json_object_of((const struct json_field[]){
        {"stacktrace", artifact_to_json(bundle, ARTIFACT_STACKTRACE, complete)},
        {"core", artifact_to_json(bundle, ARTIFACT_CORE, complete)},
        {"executable", artifact_to_json(bundle, ARTIFACT_EXECUTABLE, complete)},
        {"libs", artifact_to_json(bundle, ARTIFACT_LIBS, complete)},
        {NULL, NULL},
    });
}

static json_t *bundle_to_json(const struct bundle *bundle, bool complete)
{
    const struct crash_record *record = bundle->record;
    const struct core_info *info = bundle->info;
    const bool exited = record->wait_code == CLD_EXITED, by_core = is_known_by_core(bundle);
    const int64_t uid = process_real_id(record->status, "Uid:");
    const int64_t gid = process_real_id(record->status, "Gid:");
    const pid_t pid = crashed_pid(bundle);
    const bool is_witnessed = record->witness_pid == pid; /* exe, argv and cwd are its */
    const char *exe = info && info->knows_executable ? info->modules[0].path : NULL;
    char comm[64], thread[sizeof(info->comm)] = "";

    process_comm(record->stat, comm, sizeof(comm));
    if (by_core)
        snprintf(comm, sizeof(comm), "%s", info->comm);
    /* fill_psinfo() of fs/binfmt_elf.c names the leader; a core doesn't name other threads. */
    if (info && info->n_threads > 0 && info->threads[0].name[0])
        snprintf(thread, sizeof(thread), "%s", info->threads[0].name);
    else if (info && info->crash_tid == info->pid)
        snprintf(thread, sizeof(thread), "%s", info->comm);

    return json_object_of((const struct json_field[]){
        {"version", json_integer(CRASH_JSON_VERSION)},
        {"coreinit", json_string(COREINIT_VERSION)},
        {"id", TEXT(bundle->id)},
        {"run_id", KNOWN_TEXT(record->settings.run_id)},
        {"complete", json_boolean(complete)},
        {"time", time_to_json(&record->ended_realtime)},
        {"cause", json_string(crash_cause_name(cause_of(bundle)))},
        {"signal", signal_to_json(bundle)},
        {"exit_status", json_known_integer(exited, record->wait_status)},
        {"asked_to_stop", json_boolean(record->was_asked_to_stop)},
        {"restarts", json_integer(record->n_restarts)},
        {"crashes", json_known_integer(record->n_crashes > 0, record->n_crashes)},
        {"brief", json_boolean(record->is_brief)},
        {"pid", json_known_integer(pid > 0, pid)},
        {"tid", json_known_integer(first_thread(bundle) > 0, first_thread(bundle))},
        {"thread", KNOWN_TEXT(thread)},
        {"comm", KNOWN_TEXT(comm)},
        {"program", json_boolean(record->is_program && !by_core)},
        {"exe",
         is_witnessed && record->exe[0] ? KNOWN_TEXT(record->exe) : json_known_text(exe, PATH_MAX)},
        {"argv", is_witnessed ? argv_to_json(record) : json_null()},
        {"cwd", is_witnessed ? KNOWN_TEXT(record->cwd) : json_null()},
        {"uptime", uptime_to_json(bundle)},
        {"uid", json_known_integer(uid >= 0, uid)},
        {"gid", json_known_integer(gid >= 0, gid)},
        {"reporter", reporter_to_json(bundle)},
        {"frames", bundle->frames ? json_incref(bundle->frames) : json_null()},
        {"capture", capture_to_json(bundle)},
        {"snapshot", snapshot_to_json(bundle->snapshot)},
        {"artifacts", artifacts_to_json(bundle, complete)},
        {"limits", limits_to_json(record->limits)},
        {"cgroup", cgroup_to_json(bundle)},
        {"container", container_to_json(&bundle->container)},
        {"hostname", KNOWN_TEXT(bundle->hostname)},
        {"kernel", kernel_to_json()},
        {"modules", modules_to_json(info)},
        {NULL, NULL},
    });
}

int crash_json_write(const struct bundle *bundle, bool complete, struct sink *sink)
{
    json_t *json = bundle_to_json(bundle, complete);
    int r;

    if (!json)
        return -ENOMEM;
    r = json_write(json, sink);
    json_decref(json);
    return r;
}
