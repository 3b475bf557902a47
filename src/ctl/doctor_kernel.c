/* What the kernel allows: to itself to write a core, and to coreinit to trace. */

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "capture/why_no_core.h"
#include "ctl/doctor.h"
#include "trace/identity.h"
#include "util/io.h"
#include "util/proc_text.h"

/* As core(5)'s kernel has it: less than a page is no core. */
#define SMALLEST_CORE 4096

#define RAISE_LIMIT_DOCKER "--ulimit core=-1"
#define RAISE_LIMIT_ECS "\"ulimits\": [{\"name\": \"core\", \"softLimit\": -1, \"hardLimit\": -1}]"

/* Whether the kernel is the only one that could give a core. */
static bool needs_kernel(const struct doctor *doctor)
{
    return strcmp(doctor->prospect.mode, "kernel") == 0;
}

static bool lacks_core(const struct doctor *doctor)
{
    return needs_kernel(doctor) && !doctor->prospect.has_core;
}

/* Whether the kernel would write no core whatever the limits were, and why. */
static bool is_place_barred(const struct doctor *doctor, char *why, size_t why_size)
{
    const struct core_settings *settings = &doctor->settings;
    struct crash_facts facts = doctor->facts;
    const bool is_relative =
        core_pattern_kind(settings->pattern, settings->uses_pid) == CORE_PATTERN_FILE &&
        settings->pattern[0] != '/';

    /* An undumpable process's directory can't be seen. */
    if (!lacks_core(doctor) || (is_relative && doctor->dumpable == 0 && !doctor->record.cwd[0]))
        return false;
    facts.core_limit = facts.file_limit = UINT64_MAX;
    return why_no_core_would_come(&doctor->record, &facts, settings, why, why_size);
}

static bool has_limit(const struct doctor *doctor)
{
    return !doctor->facts.knows_core_limit || doctor->facts.core_limit >= SMALLEST_CORE;
}

/* Of a directory that the kernel writes to; UINT64_MAX where that isn't known. */
static uint64_t free_bytes(const char *directory)
{
    struct statvfs system;

    return statvfs(directory, &system) == 0 && system.f_blocks > 0
               ? (uint64_t)system.f_bavail * system.f_frsize
               : UINT64_MAX;
}

static void mend_core_directory(struct finding *ret)
{
    finding_mend(ret, "-v VOLUME:DIRECTORY there, or -w DIRECTORY, writable for the user",
                 "\"workingDirectory\" on a volume of the task's own",
                 "workingDir on an emptyDir, with fsGroup");
}

void check_core_pattern(const struct doctor *doctor, struct finding *ret)
{
    static const char *const destinations[] = {
        [CORE_PATTERN_FILE] = "names a file",
        [CORE_PATTERN_PIPE] = "pipes cores to a program",
        [CORE_PATTERN_SOCKET] = "sends cores to a socket",
        [CORE_PATTERN_EMPTY] = "is empty, which turns cores off",
    };
    const struct core_settings *settings = &doctor->settings;
    const enum core_pattern_kind kind = core_pattern_kind(settings->pattern, settings->uses_pid);
    char directory[PATH_MAX + 256] = "", why[1024], room[32], size[32];
    const bool is_cause = is_place_barred(doctor, why, sizeof(why));

    if (kind == CORE_PATTERN_FILE)
        core_directory(&doctor->record, settings, directory, sizeof(directory));
    finding_is(ret, is_cause ? CHECK_FAIL : CHECK_OK, "'%s' %s%s%s", settings->pattern,
               destinations[kind], directory[0] ? " in " : "", directory);
    if (is_cause) {
        finding_means(ret, "The kernel leaves no core%s%s.",
                      kind == CORE_PATTERN_FILE ? ": " : " here",
                      kind == CORE_PATTERN_FILE ? why : "");
        if (kind == CORE_PATTERN_FILE)
            mend_core_directory(ret);
        else
            finding_mend(ret, "on the host: sysctl kernel.core_pattern=core.%e.%h.%P",
                         "EC2: the same in user data; Fargate: it can't be changed",
                         "on the node, by a privileged DaemonSet; pods can't");
    } else if (needs_kernel(doctor) && directory[0] && free_bytes(directory) < doctor->size) {
        finding_is(ret, CHECK_WARNING, "%s are free in %s, and the process has %s",
                   size_text(free_bytes(directory), room, sizeof(room)), directory,
                   size_text(doctor->size, size, sizeof(size)));
        finding_means(ret, "The kernel writes its core there, and may cut it off: not even a stack "
                           "may be left.");
        mend_core_directory(ret);
    } else if (needs_kernel(doctor)) {
        finding_means(ret, kind == CORE_PATTERN_FILE ? "The kernel writes a core there."
                                                     : "The kernel leaves no core here.");
    } else {
        finding_means(ret, kind == CORE_PATTERN_FILE
                               ? "It isn't needed: coreinit reads the core from the process."
                               : "The kernel leaves no core here. coreinit doesn't need it: it "
                                 "reads the core from the process.");
    }
}

static void limit_text(uint64_t limit, char *ret, size_t size)
{
    if (limit == UINT64_MAX)
        snprintf(ret, size, "unlimited");
    else
        size_text(limit, ret, size);
}

static const char *hard_limit(const struct doctor *doctor, char *ret, size_t size)
{
    const char *line = proc_line(doctor->record.limits, "Max core file size");
    char hard[24] = "not known";

    if (line)
        (void)sscanf(line, "%*s %23s", hard);
    if (hard[0] >= '0' && hard[0] <= '9')
        limit_text(strtoull(hard, NULL, 10), ret, size);
    else
        snprintf(ret, size, "%s", hard);
    return ret;
}

void check_core_limits(const struct doctor *doctor, struct finding *ret)
{
    const struct crash_facts *facts = &doctor->facts;
    const bool is_foreseen = doctor->subject == SUBJECT_PREDICTION;
    char soft[32], hard[32], size[32];

    if (!facts->knows_core_limit) {
        finding_is(ret, CHECK_SKIPPED, "the core limits can't be read");
        return;
    }
    limit_text(facts->core_limit, soft, sizeof(soft));
    hard_limit(doctor, hard, sizeof(hard));
    finding_is(ret, CHECK_OK, "soft %s, hard %s%s", soft, hard,
               is_foreseen ? " (coreinit raises the soft one to the hard one)" : "");
    if (!needs_kernel(doctor)) {
        finding_means(ret, "They don't matter: the core isn't the kernel's to write.");
    } else if (lacks_core(doctor) &&
               (is_foreseen ? strcmp(hard, "0 bytes") == 0 : !has_limit(doctor))) {
        finding_is(ret, CHECK_FAIL, "soft %s, hard %s", soft, hard);
        finding_means(ret, "The kernel writes no core of it.");
        finding_mend(ret, RAISE_LIMIT_DOCKER, RAISE_LIMIT_ECS,
                     "pods can't set it: COREINIT_CAPTURE=ptrace");
    } else if (!is_foreseen && facts->core_limit < doctor->size) {
        finding_is(ret, CHECK_WARNING, "soft %s, hard %s, and the process has %s", soft, hard,
                   size_text(doctor->size, size, sizeof(size)));
        finding_means(ret, "The kernel cuts the core off there; gdb can read what is left.");
        finding_mend(ret, RAISE_LIMIT_DOCKER, RAISE_LIMIT_ECS,
                     "pods can't set it: COREINIT_CAPTURE=ptrace");
    } else {
        finding_means(ret, "A core fits.");
    }
}

void check_dumpable(const struct doctor *doctor, struct finding *ret)
{
    static const char *const words[] = {"is not dumpable", "is dumpable"};
    const char *state = doctor->dumpable >= 0 ? words[doctor->dumpable != 0]
                                              : "may be dumpable or not, which can't be seen";

    if (doctor->subject == SUBJECT_PREDICTION || doctor->subject == SUBJECT_OWN_PLACE ||
        !doctor->target.pid) {
        finding_is(ret, CHECK_OK, "fs.suid_dumpable is %d", doctor->settings.suid_dumpable);
        finding_means(ret, "It matters for set-user-ID programs, and for those that change their "
                           "user, in kernel mode.");
        return;
    }
    finding_is(ret, CHECK_OK, "%s %s; fs.suid_dumpable is %d", doctor->target.name, state,
               doctor->settings.suid_dumpable);
    if (!needs_kernel(doctor)) {
        finding_means(ret, "It doesn't matter: coreinit opened its memory at its start.");
    } else if (doctor->dumpable == 0) {
        ret->state = CHECK_FAIL;
        finding_means(ret, "The kernel writes no core of a process that changed its user, is "
                           "set-user-ID, or called prctl(PR_SET_DUMPABLE, 0).");
        mend_by_tracing(doctor, ret);
    } else if (doctor->dumpable < 0) {
        finding_means(ret, "Should it have called prctl(PR_SET_DUMPABLE, 0), or changed its user, "
                           "the kernel writes no core: COREINIT_CAPTURE=ptrace is sure.");
    } else {
        finding_means(ret, "The kernel may write its core.");
    }
}

static bool has_capability(const char *status, const char *set)
{
    const char *line = proc_line(status, set);

    return line && (strtoull(line, NULL, 16) >> CAP_SYS_PTRACE & 1);
}

void check_capabilities(const struct doctor *doctor, struct finding *ret)
{
    const char *status = doctor->record.status;
    const bool is_held = has_capability(status, "CapEff:");

    finding_is(ret, CHECK_OK, "CAP_SYS_PTRACE is %s",
               is_held                             ? "held"
               : has_capability(status, "CapBnd:") ? "in the bounding set, but not held"
                                                   : "not allowed to the container");
    if (is_held)
        finding_means(ret,
                      "gdb -p, corectl snapshot and corectl gdb may look at any process here.");
    else
        finding_means(ret, "Not needed for a crash. gdb -p works for processes of the same user "
                           "that coreinit doesn't trace; corectl gdb for those that it does.");
}

/* Tracing is the way out where the kernel gives no core: without it there is none. */
static enum check_state state_without_tracing(const struct doctor *doctor)
{
    return lacks_core(doctor)                             ? CHECK_FAIL
           : strcmp(doctor->prospect.mode, "ptrace") == 0 ? CHECK_OK
                                                          : CHECK_WARNING;
}

void check_seccomp(const struct doctor *doctor, struct finding *ret)
{
    const char *not_traceable = doctor->coreinit.not_traceable;
    const char *mode = proc_line(doctor->record.status, "Seccomp:");

    if (doctor->coreinit.error[0]) {
        finding_is(ret, CHECK_SKIPPED, "without coreinit there is nobody to trace");
        return;
    }
    if (!not_traceable[0]) {
        finding_is(ret, CHECK_OK, "a child may be traced (tried), %s",
                   mode && atoi(mode) ? "seccomp's filter lets ptrace(2) pass"
                                      : "and there is no filter");
        finding_means(ret, "coreinit can take a core from the process itself where the kernel "
                           "writes none.");
        return;
    }
    finding_is(ret, identity_yama_scope() >= 2 ? CHECK_WARNING : state_without_tracing(doctor),
               "%s", not_traceable);
    finding_means(ret, "A core comes from the kernel or not at all.");
    finding_mend(ret,
                 "--security-opt seccomp=PROFILE that allows ptrace(2); the default one does "
                 "since Linux 4.8",
                 "a platform with Linux 4.8 or later",
                 "seccompProfile.type: RuntimeDefault, or a Localhost profile that allows "
                 "ptrace(2)");
}

void check_yama(const struct doctor *doctor, struct finding *ret)
{
    const int scope = identity_yama_scope();

    if (scope < 2) {
        if (scope < 0)
            finding_is(ret, CHECK_OK, "this kernel has no Yama");
        else
            finding_is(ret, CHECK_OK, "ptrace_scope is %d", scope);
        finding_means(ret, "A parent may trace its child.");
        return;
    }
    finding_is(ret, doctor->coreinit.not_traceable[0] ? state_without_tracing(doctor) : CHECK_OK,
               "ptrace_scope is %d: %s", scope,
               scope == 2 ? "only CAP_SYS_PTRACE may trace" : "nobody may trace");
    finding_means(ret, "Where that isn't to be had, a core comes from the kernel or not at all.");
    finding_mend(ret,
                 "on the host: sysctl kernel.yama.ptrace_scope=1; for 2 also --cap-add "
                 "SYS_PTRACE",
                 "EC2: sysctl in user data; for 2 also linuxParameters.capabilities.add SYS_PTRACE",
                 "on the node; for 2 also securityContext.capabilities.add: [SYS_PTRACE]");
}
