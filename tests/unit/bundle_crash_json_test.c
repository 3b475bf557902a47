/* crash.json of every kind of crash: what it says, and that it is always what its schema says. */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle_memory_sink.h"

#include "bundle/crash_json.h"
#include "bundle/json_value.h"
#include "util/cleanup.h"
#include "util/io.h"

static void free_json(json_t **json)
{
    json_decref(*json);
}
#define _cleanup_json_ _cleanup_(free_json)

/* A bundle and everything that it points at. */
struct example {
    struct crash_record record;
    struct bundle bundle;
    struct core_info info;
    struct core_module modules[2];
    struct core_thread threads[1];
};

static const char known_limits[] =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max cpu time              unlimited            unlimited            seconds   \n"
    "Max stack size            8388608              unlimited            bytes     \n"
    "Max core file size        0                    unlimited            bytes     \n"
    "Max open files            1024                 524288               files     \n"
    "Max nice priority         0                    0                    \n";

/* A crash of which all is known: a SIGSEGV at an address. */
static struct example *known_crash(void)
{
    static const char cmdline[] = "/bin/app\0-c\0\0conf";
    struct example *example = calloc(1, sizeof(*example));
    struct crash_record *record = &example->record;
    struct bundle *bundle = &example->bundle;

    assert_non_null(example);
    *record = (struct crash_record){
        .wait_code = CLD_DUMPED,
        .wait_status = SIGSEGV,
        .pid = 7,
        .is_program = true,
        .witness_pid = 7,
        .ended_realtime = {1795253400, 123456789},
        .ended_boottime = {5000, 500000000},
        .cwd = "/srv",
        .exe = "/bin/app",
        .cmdline_size = sizeof(cmdline),
        .stat = "7 (ap) p) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 450000 1000 200 1 1\n",
        .status = "Name:\tap) p\nUid:\t1000\t0\t0\t0\nGid:\t1001\t0\t0\t0\n",
        .capture_mode = "kernel",
        .capture_why = "core_pattern is a file",
        .settings.run_id = "r42",
    };
    memcpy(record->cmdline, cmdline, sizeof(cmdline));
    memcpy(record->limits, known_limits, sizeof(known_limits));

    example->threads[0] = (struct core_thread){.tid = 9, .name = "flb-out"};
    example->modules[0] =
        (struct core_module){.path = "/bin/app", .start = 0x400000, .build_id = "0123456789abcdef"};
    example->modules[1] = (struct core_module){.path = "/lib/libc.so.6", .start = 0x7f0000000000};
    example->info = (struct core_info){
        .pid = 7,
        .crash_tid = 9,
        .signo = SIGSEGV,
        .has_siginfo = true,
        .si_code = SEGV_MAPERR,
        .fault_address = 0x10,
        .comm = "flb-out",
        .threads = example->threads,
        .n_threads = 1,
        .modules = example->modules,
        .n_modules = 2,
        .knows_executable = true,
        .file_size = 1000,
        .expected_size = 2000,
        .truncated = true,
    };

    *bundle = (struct bundle){
        .record = record,
        .id = "app_2026-11-21T093000_host_r42",
        .hostname = "host",
        .capture_source = "kernel",
        .info = &example->info,
        .container =
            {
                .orchestrator = ORCHESTRATOR_ECS,
                .ecs_container = "abc-1",
                .cgroup = "/x",
                .memory_usage = 1 << 20,
                .memory_limit = MEMORY_UNLIMITED,
                .memory_peak = 1 << 21,
                .ecs_cluster = "default",
                .ecs_task_arn = "arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd",
                .ecs_container_name = "app",
                .image = "111122223333.dkr.ecr.us-west-2.amazonaws.com/app:1.2",
                .image_digest = "sha256:0123",
                .ec2_instance_id = "i-0a1b2c3d4e5f67890",
            },
        .artifacts[ARTIFACT_STACKTRACE] = {.made = true, .size = 77, .in_cores_dir = true},
        .artifacts[ARTIFACT_CORE] = {.error = "no space left"},
    };
    memset(bundle->container.id, 'a', 64);
    memset(bundle->artifacts[ARTIFACT_STACKTRACE].sha256, 'b', 64);
    return example;
}

/* Nothing is known. */
static struct example *empty_crash(void)
{
    struct example *example = calloc(1, sizeof(*example));

    assert_non_null(example);
    example->bundle.record = &example->record;
    return example;
}

/* A process that goes on, and whose core was read from a copy of it. */
static struct example *snapshot(struct snapshot_facts *facts)
{
    struct example *example = known_crash();

    example->record.wait_code = example->record.wait_status = 0;
    example->info.signo = example->info.crash_tid = 0;
    example->info.has_siginfo = false;
    example->bundle.capture_source = "ptrace";
    *facts = (struct snapshot_facts){.pause_ms = 17.25, .method = "clone"};
    example->bundle.snapshot = facts;
    return example;
}

/* sh -c app: the shell exited with 139; the core and what was seen in /proc are app's. */
static struct example *reported_crash(void)
{
    struct example *example = known_crash();
    struct crash_record *record = &example->record;

    record->wait_code = CLD_EXITED;
    record->wait_status = 128 + SIGSEGV;
    record->witness_pid = example->info.pid = 8;
    strcpy(record->stat, "7 (sh) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 450000 1 2 3\n");
    return example;
}

static uint8_t random_byte(void)
{
    static uint64_t state = 42;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(state >> 40);
}

static void fill_with_garbage(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        text[i] = (char)random_byte();
    text[size - 1] = '\0';
}

/* Bytes that a hostile or damaged process may have left in every text; ended as ctl/record.c does.
 */
static struct example *garbage_crash(void)
{
    struct example *example = known_crash();
    struct crash_record *record = &example->record;
    struct container *container = &example->bundle.container;

#define GARBAGE(array) fill_with_garbage(array, sizeof(array))
    GARBAGE(record->cwd);
    GARBAGE(record->exe);
    GARBAGE(record->cmdline);
    GARBAGE(record->stat);
    GARBAGE(record->status);
    GARBAGE(record->limits);
    GARBAGE(record->memory_events[0]);
    GARBAGE(record->memory_events[1]);
    GARBAGE(record->capture_mode);
    GARBAGE(record->capture_why);
    GARBAGE(example->info.comm);
    GARBAGE(example->threads[0].name);
    GARBAGE(example->bundle.hostname);
    GARBAGE(example->bundle.no_core);
    GARBAGE(container->ecs_container);
    GARBAGE(container->pod_name);
    GARBAGE(container->cgroup);
    GARBAGE(container->ecs_task_arn);
    GARBAGE(container->image);
    GARBAGE(example->bundle.artifacts[ARTIFACT_CORE].error);
#undef GARBAGE
    record->cmdline_size = UINT32_MAX;
    example->modules[0].path = record->cwd;
    example->info.si_code = (int8_t)random_byte();
    example->info.signo = record->wait_status = random_byte() % 80;
    example->info.fault_address = UINT64_MAX;
    example->info.file_size = UINT64_MAX;
    return example;
}

/* Writes an account and reads it again. */
static json_t *account(const struct example *example, bool complete)
{
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;
    json_error_t error;
    json_t *json;

    assert_int_equal(crash_json_write(&example->bundle, complete, sink), 0);
    assert_int_equal(memory->data[memory->size - 1], '\n');
    json = json_loadb((const char *)memory->data, memory->size, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        fail_msg("no JSON: %s", error.text);
    return json;
}

/* The value at a path of keys and indexes: "frames.0.pc". */
static json_t *value_at(json_t *json, const char *path)
{
    char keys[256], *rest = NULL;

    snprintf(keys, sizeof(keys), "%s", path);
    for (char *key = strtok_r(keys, ".", &rest); key; key = strtok_r(NULL, ".", &rest)) {
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key))
                                   : json_object_get(json, key);
        if (!json)
            fail_msg("there is no %s", path);
    }
    return json;
}

static void assert_texts(json_t *json, const char *const pairs[][2])
{
    for (size_t i = 0; pairs[i][0]; i++) {
        json_t *value = value_at(json, pairs[i][0]);

        if (pairs[i][1])
            assert_string_equal(json_string_value(value), pairs[i][1]);
        else
            assert_true(json_is_null(value));
    }
}

static void assert_integer(json_t *json, const char *path, json_int_t expected)
{
    assert_true(json_is_integer(value_at(json, path)));
    assert_int_equal(json_integer_value(value_at(json, path)), expected);
}

static void a_known_crash_is_told_whole(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    _cleanup_json_ json_t *json = account(example, true);

    assert_integer(json, "version", 1);
    assert_true(json_is_true(value_at(json, "complete")));
    assert_texts(json,
                 (const char *const[][2]){
                     {"id", "app_2026-11-21T093000_host_r42"},
                     {"run_id", "r42"},
                     {"time", "2026-11-21T09:30:00.123456Z"},
                     {"cause", "signal"},
                     {"signal.name", "SIGSEGV"},
                     {"signal.code_name", "SEGV_MAPERR"},
                     {"signal.address", "0x10"},
                     {"signal.sender_pid", NULL},
                     {"exit_status", NULL},
                     {"thread", "flb-out"},
                     {"comm", "ap) p"},
                     {"exe", "/bin/app"},
                     {"argv.0", "/bin/app"},
                     {"argv.1", "-c"},
                     {"argv.2", ""},
                     {"argv.3", "conf"},
                     {"cwd", "/srv"},
                     {"reporter.comm", NULL},
                     {"frames", NULL},
                     {"modules.0.path", "/bin/app"},
                     {"modules.0.build_id", "0123456789abcdef"},
                     {"modules.0.address", "0x400000"},
                     {"modules.1.build_id", NULL},
                     {"capture.mode", "kernel"},
                     {"capture.why", "core_pattern is a file"},
                     {"capture.source", "kernel"},
                     {"capture.no_core", NULL},
                     {"limits.core.hard", "unlimited"},
                     {"limits.as.soft", NULL},
                     {"container.orchestrator", "ecs"},
                     {"container.ecs_container", "abc-1"},
                     {"container.pod_name", NULL},
                     {"container.ecs_cluster", "default"},
                     {"container.ecs_task_arn",
                      "arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd"},
                     {"container.ecs_container_name", "app"},
                     {"container.image", "111122223333.dkr.ecr.us-west-2.amazonaws.com/app:1.2"},
                     {"container.image_digest", "sha256:0123"},
                     {"container.ec2_instance_id", "i-0a1b2c3d4e5f67890"},
                     {"cgroup.memory_limit", "unlimited"},
                     {"hostname", "host"},
                     {"artifacts.stacktrace.file", "app_2026-11-21T093000_host_r42.stacktrace"},
                     {"artifacts.stacktrace.error", NULL},
                     {"artifacts.core.file", NULL},
                     {"artifacts.core.sha256", NULL},
                     {"artifacts.core.error", "no space left"},
                     {NULL, NULL},
                 });
    assert_integer(json, "signal.number", SIGSEGV);
    assert_integer(json, "signal.code", 1);
    assert_integer(json, "pid", 7);
    assert_integer(json, "tid", 9);
    assert_integer(json, "uid", 1000);
    assert_integer(json, "gid", 1001);
    assert_int_equal(json_array_size(value_at(json, "argv")), 4);
    assert_true(json_is_true(value_at(json, "program")));
    assert_float_equal(json_real_value(value_at(json, "uptime")), 500.5, 0.0001);
    assert_integer(json, "capture.core_size", 1000);
    assert_integer(json, "capture.expected_size", 2000);
    assert_true(json_is_true(value_at(json, "capture.truncated")));
    assert_integer(json, "limits.core.soft", 0);
    assert_integer(json, "limits.nofile.hard", 524288);
    assert_integer(json, "cgroup.memory_peak", 1 << 21);
    assert_integer(json, "artifacts.stacktrace.size", 77);
    assert_true(json_is_true(value_at(json, "artifacts.stacktrace.in_cores_dir")));
    assert_true(json_is_false(value_at(json, "artifacts.core.in_cores_dir")));
}

static void the_early_form_knows_no_fates(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    _cleanup_json_ json_t *json = account(example, false);
    const char *key;
    json_t *value;

    assert_true(json_is_false(value_at(json, "complete")));
    assert_texts(json, (const char *const[][2]){{"signal.name", "SIGSEGV"}, {NULL, NULL}});
    json_object_foreach(value_at(json, "artifacts.stacktrace"), key, value)
        assert_true(json_is_null(value));
}

static void a_sent_signal_has_a_sender_and_no_address(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();

    example->record.wait_status = example->info.signo = SIGABRT;
    example->info.si_code = SI_TKILL;
    example->info.sender_pid = 7;
    example->info.sender_uid = 4294967294;
    _cleanup_json_ json_t *json = account(example, true);

    assert_texts(json, (const char *const[][2]){{"signal.name", "SIGABRT"},
                                                {"signal.code_name", "SI_TKILL"},
                                                {"signal.address", NULL},
                                                {NULL, NULL}});
    assert_integer(json, "signal.code", -6);
    assert_integer(json, "signal.sender_pid", 7);
    assert_integer(json, "signal.sender_uid", 4294967294);
}

static void si_codes_are_named_by_signal(void **unused)
{
    (void)unused;
    static const struct {
        int signo, code;
        const char *name;
        bool has_address;
    } cases[] = {
        {SIGSEGV, SEGV_ACCERR, "SEGV_ACCERR", true},
        {SIGBUS, BUS_ADRERR, "BUS_ADRERR", true},
        {SIGFPE, FPE_INTDIV, "FPE_INTDIV", true},
        {SIGILL, ILL_ILLOPN, "ILL_ILLOPN", true},
        {SIGSEGV, SI_KERNEL, "SI_KERNEL", false},
        {SIGTRAP, SI_KERNEL, "SI_KERNEL", false},
        {SIGSYS, 1, "SYS_SECCOMP", false},
        {SIGQUIT, SI_USER, "SI_USER", false},
        {SIGSEGV, 99, NULL, true},
        {SIGXCPU, 99, NULL, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_free_ struct example *example = known_crash();

        example->record.wait_status = example->info.signo = cases[i].signo;
        example->info.si_code = cases[i].code;
        _cleanup_json_ json_t *json = account(example, true);
        assert_texts(
            json, (const char *const[][2]){{"signal.code_name", cases[i].name},
                                           {"signal.address", cases[i].has_address ? "0x10" : NULL},
                                           {NULL, NULL}});
    }
}

static void a_core_that_a_shell_reported_is_told_of_the_one_that_crashed(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = reported_crash();
    _cleanup_json_ json_t *json = account(example, true);

    assert_texts(json, (const char *const[][2]){
                           {"cause", "signal"},
                           {"signal.name", "SIGSEGV"},
                           {"comm", "flb-out"},
                           {"exe", "/bin/app"},
                           {"argv.1", "-c"},
                           {"cwd", "/srv"},
                           {"uptime", NULL},
                           {"reporter.comm", "sh"},
                           {NULL, NULL},
                       });
    assert_integer(json, "pid", 8);
    assert_integer(json, "reporter.pid", 7);
    assert_integer(json, "exit_status", 139);
    assert_true(json_is_false(value_at(json, "program")));
}

/* A worker whose own parent reaped it: coreinit knows its core, and nothing else. */
static struct example *appeared_crash(void)
{
    struct example *example = known_crash();
    const struct crash_settings settings = example->record.settings;

    example->record = (struct crash_record){
        .ended_realtime = {1795253400, 0},
        .appeared = "/cores/core.8",
        .capture_mode = "kernel",
        .settings = settings,
    };
    example->info.pid = 8;
    return example;
}

static void a_core_that_appeared_is_told_by_itself(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = appeared_crash();
    _cleanup_json_ json_t *json = account(example, true);

    assert_texts(json, (const char *const[][2]){
                           {"cause", "signal"},
                           {"signal.name", "SIGSEGV"},
                           {"signal.code_name", "SEGV_MAPERR"},
                           {"comm", "flb-out"},
                           {"exe", "/bin/app"},
                           {"argv", NULL},
                           {"cwd", NULL},
                           {"uptime", NULL},
                           {"uid", NULL},
                           {"exit_status", NULL},
                           {"reporter.pid", NULL},
                           {"limits.core.soft", NULL},
                           {NULL, NULL},
                       });
    assert_integer(json, "pid", 8);
    assert_integer(json, "tid", 9);
    assert_true(json_is_false(value_at(json, "program")));
}

/* Of a crash whose collectors were all killed: the next life knows its pid and its core. */
static void a_core_that_an_earlier_life_left_is_told_by_itself(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = appeared_crash();

    example->record.appeared[0] = '\0';
    example->record.pid = 7;
    _cleanup_json_ json_t *json = account(example, true);
    assert_texts(json, (const char *const[][2]){
                           {"cause", "signal"},
                           {"signal.name", "SIGSEGV"},
                           {"comm", "flb-out"},
                           {"exe", "/bin/app"},
                           {"reporter.pid", NULL},
                           {"exit_status", NULL},
                           {NULL, NULL},
                       });
    assert_integer(json, "pid", 8);
}

static void a_snapshot_has_no_signal_and_tells_its_pause(void **unused)
{
    (void)unused;
    struct snapshot_facts facts;
    _cleanup_free_ struct example *example = snapshot(&facts);
    _cleanup_json_ json_t *json = account(example, true);

    assert_texts(json, (const char *const[][2]){
                           {"cause", "snapshot"},
                           {"signal.name", NULL},
                           {"signal.number", NULL},
                           {"signal.code", NULL},
                           {"exit_status", NULL},
                           {"snapshot.method", "clone"},
                           {"snapshot.why", NULL},
                           {"thread", "flb-out"},
                           {NULL, NULL},
                       });
    assert_integer(json, "tid", 9);
    assert_true(json_real_value(value_at(json, "snapshot.pause_ms")) == 17.25);
}

static void the_pause_of_a_process_that_is_still_held_is_not_known_yet(void **unused)
{
    (void)unused;
    struct snapshot_facts facts;
    _cleanup_free_ struct example *example = snapshot(&facts);

    facts = (struct snapshot_facts){
        .pause_ms = -1, .began_ns = 1, .method = "held", .why = "memory is short"};
    _cleanup_json_ json_t *early = account(example, false);
    assert_texts(early, (const char *const[][2]){{"snapshot.pause_ms", NULL},
                                                 {"snapshot.method", "held"},
                                                 {"snapshot.why", "memory is short"},
                                                 {NULL, NULL}});
    snapshot_facts_end(&facts);
    _cleanup_json_ json_t *whole = account(example, true);
    assert_true(json_real_value(value_at(whole, "snapshot.pause_ms")) > 0);
}

static void what_could_not_be_read_of_the_process_is_counted(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    _cleanup_json_ json_t *kernel = account(example, true);

    assert_texts(kernel, (const char *const[][2]){{"capture.unreadable", NULL}, {NULL, NULL}});
    example->bundle.capture_source = "ptrace";
    example->bundle.knows_unreadable = true;
    _cleanup_json_ json_t *whole = account(example, true);
    assert_texts(whole, (const char *const[][2]){{"capture.source", "ptrace"}, {NULL, NULL}});
    assert_integer(whole, "capture.unreadable", 0);
    example->bundle.unreadable = 8192;
    _cleanup_json_ json_t *lacking = account(example, true);
    assert_integer(lacking, "capture.unreadable", 8192);
}

/* What was seen in /proc was of a third process, so only the core is believed. */
static void what_was_seen_of_another_process_is_not_told(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = reported_crash();

    example->record.witness_pid = 9;
    strcpy(example->record.exe, "/bin/third");
    _cleanup_json_ json_t *json = account(example, true);
    assert_texts(json, (const char *const[][2]){
                           {"exe", "/bin/app"}, {"argv", NULL}, {"cwd", NULL}, {NULL, NULL}});
    example->info.knows_executable = false;
    _cleanup_json_ json_t *unknown = account(example, true);
    assert_texts(unknown, (const char *const[][2]){{"exe", NULL}, {NULL, NULL}});
}

static void an_exit_without_a_core_is_an_exit(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = reported_crash();

    example->bundle.info = NULL;
    example->bundle.capture_source = "none";
    strcpy(example->bundle.no_core, "the core limit is 0");
    _cleanup_json_ json_t *json = account(example, true);

    assert_texts(json, (const char *const[][2]){
                           {"cause", "exit"},
                           {"signal.name", NULL},
                           {"comm", "sh"},
                           {"exe", NULL},
                           {"reporter.comm", NULL},
                           {"modules", NULL},
                           {"capture.no_core", "the core limit is 0"},
                           {"capture.core_size", NULL},
                           {NULL, NULL},
                       });
    assert_integer(json, "exit_status", 139);
    assert_integer(json, "pid", 7);
}

/* An end that left no core, at which the counter of OOM kills went from one text to the other. */
static struct example *end(int code, int status, const char *before, const char *now)
{
    struct example *example = known_crash();
    struct crash_record *record = &example->record;

    example->bundle.info = NULL;
    record->wait_code = code;
    record->wait_status = status;
    snprintf(record->memory_events[0], sizeof(record->memory_events[0]), "%s", before);
    snprintf(record->memory_events[1], sizeof(record->memory_events[1]), "%s", now);
    return example;
}

static void every_end_has_its_cause(void **unused)
{
    (void)unused;
    static const char none[] = "low 0\noom 0\noom_kill 0\noom_group_kill 0\n";
    static const char one[] = "low 0\noom 1\noom_kill 1\noom_group_kill 0\n";
    static const char v1_none[] = "oom_kill_disable 0\nunder_oom 0\noom_kill 0";
    static const char v1_two[] = "oom_kill_disable 0\nunder_oom 0\noom_kill 2";
    static const char v1_old[] = "oom_kill_disable 1\nunder_oom 1\n";
    static const struct {
        int code, status;
        bool asked;
        const char *before, *now, *cause, *signal;
        int oom_kills; /* -1: not known */
    } cases[] = {
        {CLD_DUMPED, SIGSEGV, false, none, none, "signal", "SIGSEGV", 0},
        {CLD_KILLED, SIGABRT, true, none, one, "signal", "SIGABRT", 1},
        {CLD_KILLED, SIGKILL, false, none, one, "oom-kill", "SIGKILL", 1},
        {CLD_KILLED, SIGKILL, true, none, one, "oom-kill", "SIGKILL", 1},
        {CLD_KILLED, SIGKILL, false, v1_none, v1_two, "oom-kill", "SIGKILL", 2},
        {CLD_EXITED, 128 + SIGKILL, false, none, one, "oom-kill", "SIGKILL", 1},
        {CLD_KILLED, SIGKILL, false, one, one, "kill", "SIGKILL", 0},
        {CLD_KILLED, SIGKILL, false, one, none, "kill", "SIGKILL", 0},
        {CLD_KILLED, SIGKILL, false, "", one, "kill", "SIGKILL", -1},
        {CLD_KILLED, SIGKILL, false, v1_old, v1_old, "kill", "SIGKILL", -1},
        {CLD_KILLED, SIGKILL, false, "oom_kill 0\n", "oom_kill x\n", "kill", "SIGKILL", -1},
        {CLD_KILLED, SIGKILL, true, none, none, "stop", "SIGKILL", 0},
        {CLD_KILLED, SIGTERM, false, none, one, "kill", "SIGTERM", 1},
        {CLD_KILLED, SIGTERM, true, none, none, "stop", "SIGTERM", 0},
        {CLD_EXITED, 3, false, none, one, "exit", NULL, 1},
        {CLD_EXITED, 3, true, "", "", "stop", NULL, -1},
        {CLD_EXITED, 128 + SIGKILL, false, none, none, "exit", NULL, 0},
        {CLD_EXITED, 128 + SIGSEGV, false, none, none, "exit", NULL, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_free_ struct example *example =
            end(cases[i].code, cases[i].status, cases[i].before, cases[i].now);

        example->record.was_asked_to_stop = cases[i].asked;
        _cleanup_json_ json_t *json = account(example, true);
        assert_texts(json, (const char *const[][2]){{"cause", cases[i].cause},
                                                    {"signal.name", cases[i].signal},
                                                    {NULL, NULL}});
        assert_int_equal(json_is_true(value_at(json, "asked_to_stop")), cases[i].asked);
        if (cases[i].oom_kills < 0)
            assert_true(json_is_null(value_at(json, "cgroup.oom_kills")));
        else
            assert_integer(json, "cgroup.oom_kills", cases[i].oom_kills);
    }
}

static void a_crash_loop_is_counted(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    _cleanup_json_ json_t *single = account(example, true);

    assert_integer(single, "restarts", 0);
    assert_true(json_is_null(value_at(single, "crashes")));
    assert_true(json_is_null(value_at(single, "capture.attempt")));
    assert_true(json_is_false(value_at(single, "brief")));
    example->record.n_restarts = 4;
    example->record.n_crashes = 5;
    example->record.attempt = 2;
    example->record.is_brief = true;
    _cleanup_json_ json_t *looping = account(example, true);
    assert_integer(looping, "restarts", 4);
    assert_integer(looping, "crashes", 5);
    assert_integer(looping, "capture.attempt", 2);
    assert_true(json_is_true(value_at(looping, "brief")));
}

static void bytes_that_are_no_utf_8_are_replaced(void **unused)
{
    (void)unused;
    static const char *const pairs[][2] = {
        {"plain", "plain"},
        {"caf\xe9!", "caf\xef\xbf\xbd!"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"日本🐦\n\"\\\x01", "日本🐦\n\"\\\x01"},
        {"cut \xf0\x9f\x90", "cut \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        _cleanup_free_ struct example *example = known_crash();

        strcpy(example->record.cwd, pairs[i][0]);
        _cleanup_json_ json_t *json = account(example, true);
        assert_string_equal(json_string_value(value_at(json, "cwd")), pairs[i][1]);
    }
}

static void a_time_outside_of_rfc_3339_is_unknown(void **unused)
{
    (void)unused;
    static const struct {
        struct timespec when;
        const char *text;
    } cases[] = {
        {{0, 0}, "1970-01-01T00:00:00.000000Z"},
        {{253402300799, 999999999}, "9999-12-31T23:59:59.999999Z"},
        {{253402300800, 0}, NULL},
        {{-1, 0}, NULL},
        {{INT64_MAX, 0}, NULL},
        {{0, -1}, NULL},
        {{0, 1000000000}, NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_free_ struct example *example = empty_crash();

        example->record.ended_realtime = cases[i].when;
        _cleanup_json_ json_t *json = account(example, true);
        assert_texts(json, (const char *const[][2]){
                               {"time", cases[i].text}, {"uptime", NULL}, {NULL, NULL}});
    }
}

static json_t *make_frames(size_t max)
{
    struct stack_frame frames[] = {
        {.pc = 0x401000,
         .is_activation = true,
         .function = "strlen",
         .function_offset = 19,
         .module = "/lib/libc.so.6",
         .module_offset = 0x9a1a3,
         .build_id = "00ff"},
        {.pc = 0x402000,
         .is_inlined = true,
         .function = "cb_fl\xffush",
         .file = "x.c",
         .line = 120},
        {.pc = UINT64_MAX},
    };
    struct stack_thread thread = {.tid = 9, .frames = frames, .n_frames = 3};

    return stack_to_json(&thread, max);
}

static void top_frames_are_told(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    _cleanup_json_ json_t *two = make_frames(2), *frames = make_frames(100);

    assert_int_equal(json_array_size(two), 2);
    example->bundle.frames = frames;
    _cleanup_json_ json_t *json = account(example, true);
    assert_texts(json, (const char *const[][2]){
                           {"frames.0.pc", "0x401000"},
                           {"frames.0.function", "strlen"},
                           {"frames.0.module_offset", "0x9a1a3"},
                           {"frames.0.build_id", "00ff"},
                           {"frames.0.file", NULL},
                           {"frames.0.line", NULL},
                           {"frames.1.function", "cb_fl\xef\xbf\xbdush"},
                           {"frames.1.file", "x.c"},
                           {"frames.1.module_offset", NULL},
                           {"frames.2.pc", "0xffffffffffffffff"},
                           {"frames.2.function_offset", NULL},
                           {NULL, NULL},
                       });
    assert_integer(json, "frames.0.function_offset", 19);
    assert_integer(json, "frames.1.line", 120);
    assert_true(json_is_true(value_at(json, "frames.1.inlined")));
    assert_int_equal(frames->refcount, 1); /* still the owner's */
}

static void a_failing_sink_is_told(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = known_crash();
    int r = -ENOSPC;
    unsigned fail_at = 1;

    for (; r != 0; fail_at++) {
        struct memory_sink *memory = memory_sink(fail_at);
        _cleanup_sink_ struct sink *sink = &memory->sink;

        r = crash_json_write(&example->bundle, true, sink);
        assert_int_equal(r, memory->writes < fail_at ? 0 : -ENOSPC);
    }
    assert_in_range(fail_at, 3, 10); /* several writes, but not one of each crumb */
}

/* The allocation that fails, counted down; 0: none does. */
static unsigned failing_allocation;

static void *failing_malloc(size_t size)
{
    return failing_allocation > 0 && --failing_allocation == 0 ? NULL : malloc(size);
}

static void no_memory_is_told_at_every_allocation(void **unused)
{
    (void)unused;
    _cleanup_free_ struct example *example = reported_crash();
    _cleanup_json_ json_t *frames = make_frames(100);
    int r = -ENOMEM;

    example->bundle.frames = frames;
    json_set_alloc_funcs(failing_malloc, free);
    for (unsigned fail_at = 1; r != 0; fail_at++) {
        struct memory_sink *memory = memory_sink(0);
        _cleanup_sink_ struct sink *sink = &memory->sink;

        failing_allocation = fail_at;
        r = crash_json_write(&example->bundle, true, sink);
        assert_int_equal(r, failing_allocation > 0 ? 0 : -ENOMEM);
        if (r == 0)
            assert_true(fail_at > 300);
    }
    for (unsigned fail_at = 1; fail_at <= 30; fail_at++) {
        failing_allocation = fail_at;
        assert_null(make_frames(100));
    }
    failing_allocation = 0;
    json_set_alloc_funcs(malloc, free);
}

static void write_account(const char *folder, unsigned number, struct example *example)
{
    static const bool forms[] = {false, true};
    char path[PATH_MAX];

    for (size_t i = 0; i < 2; i++) {
        struct memory_sink *memory = memory_sink(0);
        _cleanup_sink_ struct sink *sink = &memory->sink;
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/%u%s.json", folder, number, forms[i] ? "" : ".early");
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(crash_json_write(&example->bundle, forms[i], sink), 0);
        assert_int_equal(write_all(fd, memory->data, memory->size), 0);
    }
    free(example);
}

static void every_account_is_what_the_schema_says(void **unused)
{
    (void)unused;
    extern char **environ;
    char folder[] = "/tmp/bundle_crash_json_test.XXXXXX", here[] = __FILE__, command[PATH_MAX * 2];
    const char *const argv[] = {"sh", "-c", command, NULL};
    _cleanup_json_ json_t *frames = make_frames(100);
    struct example *example = known_crash();
    struct snapshot_facts facts;
    int status;
    pid_t pid;

    assert_non_null(mkdtemp(folder));
    example->bundle.frames = frames;
    write_account(folder, 0, example);
    write_account(folder, 1, empty_crash());
    write_account(folder, 2, reported_crash());
    write_account(folder, 3, appeared_crash());
    write_account(folder, 24, snapshot(&facts));
    write_account(folder, 25,
                  end(CLD_KILLED, SIGKILL, "oom_kill 0\n", "oom_kill 18446744073709551615\n"));
    write_account(folder, 26, end(CLD_EXITED, 1, "", ""));
    for (unsigned i = 4; i < 24; i++)
        write_account(folder, i, garbage_crash());

    snprintf(command, sizeof(command),
             "cd '%s' && /usr/bin/python3 check_crash_json.py ../../src/bundle/crash.schema.json "
             "%s/*.json; status=$?; rm -r %s; exit $status",
             dirname(here), folder, folder);
    assert_int_equal(posix_spawnp(&pid, "sh", NULL, NULL, (char **)argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_crash_is_told_whole),
        cmocka_unit_test(the_early_form_knows_no_fates),
        cmocka_unit_test(a_sent_signal_has_a_sender_and_no_address),
        cmocka_unit_test(si_codes_are_named_by_signal),
        cmocka_unit_test(a_core_that_a_shell_reported_is_told_of_the_one_that_crashed),
        cmocka_unit_test(a_core_that_appeared_is_told_by_itself),
        cmocka_unit_test(a_core_that_an_earlier_life_left_is_told_by_itself),
        cmocka_unit_test(what_could_not_be_read_of_the_process_is_counted),
        cmocka_unit_test(what_was_seen_of_another_process_is_not_told),
        cmocka_unit_test(an_exit_without_a_core_is_an_exit),
        cmocka_unit_test(every_end_has_its_cause),
        cmocka_unit_test(a_crash_loop_is_counted),
        cmocka_unit_test(bytes_that_are_no_utf_8_are_replaced),
        cmocka_unit_test(a_time_outside_of_rfc_3339_is_unknown),
        cmocka_unit_test(top_frames_are_told),
        cmocka_unit_test(a_failing_sink_is_told),
        cmocka_unit_test(no_memory_is_told_at_every_allocation),
        cmocka_unit_test(a_snapshot_has_no_signal_and_tells_its_pause),
        cmocka_unit_test(the_pause_of_a_process_that_is_still_held_is_not_known_yet),
        cmocka_unit_test(every_account_is_what_the_schema_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
