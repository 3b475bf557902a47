/* Who captures a crash: coreinit, and how. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/doctor.h"
#include "trace/named.h"

#define NO_CORE_MEANS                                                                              \
    "A crash leaves crash.json, executable and libraries, but neither core nor stack."

static void mend_alike(struct finding *ret, const char *mend)
{
    finding_mend(ret, mend, mend, mend);
}

static bool is_this_corectl(const char *path)
{
    struct stat own, other;

    return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 &&
           own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static void tell_absence(const struct doctor *doctor, struct finding *ret)
{
    const struct target *target = &doctor->target;
    char name[256];

    if (doctor->is_idle) {
        finding_is(ret, CHECK_FAIL, "a coreinit runs here, but has no process now");
        finding_means(ret, "It waits for the one that it was told to attach to, or was asked to "
                           "lend it.");
        mend_alike(ret, "start that process, or correct the --name of corectl attach");
        return;
    }
    if (target->other_tracer) {
        named_read(target->other_tracer, name, sizeof(name));
        finding_is(ret, CHECK_FAIL,
                   "%s (pid %d) doesn't run below a coreinit, and is traced by %s (pid %d)",
                   target->name, target->pid, name, target->other_tracer);
    } else if (target->pid)
        finding_is(ret, CHECK_FAIL,
                   "%s (pid %d) doesn't run below a coreinit, nor is it traced by one",
                   target->name, target->pid);
    else
        finding_is(ret, CHECK_FAIL,
                   "no coreinit runs here (to ask about one that would be started here: corectl "
                   "doctor -- PROGRAM)");
    finding_means(ret, "Nobody would notice a crash.");
    finding_mend(
        ret, "ENTRYPOINT [\"/opt/coreinit/bin/coreinit\", \"--\"] in the image",
        "\"entryPoint\": [\"/opt/coreinit/bin/coreinit\", \"--\"] in the container definition",
        "command: [\"/opt/coreinit/bin/coreinit\", \"--\", PROGRAM], or a side container with "
        "`corectl attach --name NAME` and shareProcessNamespace: true");
}

static void tell_error(const struct doctor *doctor, struct finding *ret)
{
    if (doctor->subject == SUBJECT_PREDICTION) {
        finding_is(ret, CHECK_FAIL, "coreinit would not start: %s", doctor->coreinit.error);
        finding_means(ret, "It ends with status 1, and the program doesn't run.");
    } else {
        finding_is(ret, CHECK_FAIL, "coreinit (pid %d) cannot be asked: %s",
                   doctor->target.coreinit, doctor->coreinit.error);
        finding_means(ret, "What it would do isn't known.");
    }
    finding_mend(ret,
                 "correct the setting that is named; docker exec into coreinit's own container, as "
                 "its user (-u); copy /opt/coreinit as a whole",
                 "correct the setting that is named; ask in coreinit's own container; copy "
                 "/opt/coreinit as a whole",
                 "correct the setting that is named; ask in coreinit's own container; copy "
                 "/opt/coreinit as a whole");
}

static void tell_collector(const struct doctor *doctor, const char *who, struct finding *ret)
{
    const struct explained *coreinit = &doctor->coreinit;
    const bool is_own = is_this_corectl(coreinit->corectl);

    if (!coreinit->has_corectl) {
        finding_is(ret, CHECK_FAIL, "%s, but there is no corectl at %s", who, coreinit->corectl);
        finding_means(ret, "A crash is told in the log, but not bundled.");
        finding_mend(ret,
                     "COPY --from=coreinit /opt/coreinit /opt/coreinit, all of it; or "
                     "-e COREINIT_CORECTL=PATH",
                     "the same image; or COREINIT_CORECTL in environment",
                     "the same image; or COREINIT_CORECTL in env");
    } else if (!is_own) {
        finding_is(ret, CHECK_WARNING, "%s; its collector is %s, another one than this corectl",
                   who, coreinit->corectl);
        finding_means(ret, "What follows about it is this one's word.");
    } else if (doctor->lacks[0]) {
        finding_is(ret, CHECK_WARNING, "%s; this corectl couldn't take on its %s", who,
                   doctor->lacks);
        finding_means(ret, "Where credentials, directories or rights differ, so may the answers.");
        finding_mend(ret, "docker exec without -u", "the container's own user",
                     "the container's own user");
    } else {
        finding_is(ret, CHECK_OK, "%s", who);
        finding_means(ret, "It sees how its program ends, and all that descends from it.");
    }
}

bool doctor_lacks_program(const struct doctor *doctor)
{
    return doctor->subject == SUBJECT_PREDICTION && doctor->coreinit.program[0] &&
           !doctor->coreinit.program_path[0];
}

void check_coreinit(const struct doctor *doctor, struct finding *ret)
{
    const struct target *target = &doctor->target;
    const struct explained *coreinit = &doctor->coreinit;
    char who[768] = "";

    if (doctor->subject == SUBJECT_STRANGER) {
        tell_absence(doctor, ret);
        return;
    }
    if (coreinit->error[0]) {
        tell_error(doctor, ret);
        return;
    }
    if (doctor_lacks_program(doctor)) {
        finding_is(ret, CHECK_FAIL, "%s can't be started: it isn't there, or isn't executable",
                   coreinit->program);
        finding_means(ret, "coreinit would end with status 127 or 126.");
        mend_alike(ret, "correct the program's name");
        return;
    }
    if (doctor->subject == SUBJECT_PREDICTION)
        snprintf(who, sizeof(who),
                 "none runs; the answers are a prediction for coreinit %s, started as this was%s%s",
                 coreinit->version, strcmp(coreinit->program, "/proc/self/exe") ? " with " : "",
                 strcmp(coreinit->program, "/proc/self/exe") ? coreinit->program : "");
    else if (doctor->subject == SUBJECT_OWN_PLACE)
        snprintf(who, sizeof(who),
                 "coreinit %s (pid %d) runs this corectl, which stands for the program",
                 coreinit->version, target->coreinit);
    else
        snprintf(who, sizeof(who), "coreinit %s (pid %d) looks after %s (pid %d)",
                 coreinit->version, target->coreinit, target->name, target->pid);
    tell_collector(doctor, who, ret);
}

void mend_by_tracing(const struct doctor *doctor, struct finding *ret)
{
    const struct explained *coreinit = &doctor->coreinit;

    if (coreinit->not_traceable[0])
        mend_alike(ret, "allow ptrace(2): see seccomp and yama below");
    else if (coreinit->not_traced[0])
        finding_mend(ret, "--cap-add SYS_PTRACE, with which it can be traced",
                     "linuxParameters.capabilities.add: [\"SYS_PTRACE\"]",
                     "securityContext.capabilities.add: [SYS_PTRACE]");
    else
        finding_mend(ret, "-e COREINIT_CAPTURE=ptrace", "COREINIT_CAPTURE=ptrace in environment",
                     "COREINIT_CAPTURE=ptrace in env");
}

static void tell_kernel(const struct doctor *doctor, struct finding *ret)
{
    const struct prospect *prospect = &doctor->prospect;
    const char *not_traced = doctor->coreinit.not_traced;

    if (prospect->has_core) {
        finding_is(ret, CHECK_OK, "kernel: %s", prospect->why);
        finding_means(ret, "The kernel writes its core, and coreinit collects the file.%s%s",
                      not_traced[0] ? " Tracing isn't possible: " : "", not_traced);
        return;
    }
    finding_is(ret, CHECK_FAIL, "kernel, which gives no core: %s%s%s", prospect->no_core,
               not_traced[0] ? "; not traced: " : "", not_traced);
    finding_means(ret, NO_CORE_MEANS);
    mend_by_tracing(doctor, ret);
}

void check_capture(const struct doctor *doctor, struct finding *ret)
{
    const struct prospect *prospect = &doctor->prospect;
    const char *mode = prospect->mode;

    if (strcmp(mode, "none") == 0) {
        finding_is(ret, CHECK_SKIPPED, "nothing captures");
        return;
    }
    if (strcmp(mode, "off") == 0) {
        finding_is(ret, CHECK_FAIL, "off: %s", prospect->why);
        finding_means(ret, "coreinit is a plain init here, and a crash leaves nothing.");
        finding_mend(ret, "-e COREINIT_CAPTURE=auto", "COREINIT_CAPTURE=auto in environment",
                     "COREINIT_CAPTURE=auto in env");
        return;
    }
    if (doctor->target.other_tracer && doctor->subject == SUBJECT_PROGRAM) {
        finding_is(ret, CHECK_FAIL, "%s: %s", mode, prospect->why);
        finding_means(ret, "A crash is that one's to see first, and to let pass or not.");
        mend_alike(ret, "end it");
        return;
    }
    if (doctor->is_32_bit) {
        finding_is(ret, CHECK_FAIL, "%s, but gives no core: %s", mode, prospect->no_core);
        finding_means(ret, NO_CORE_MEANS);
        mend_alike(ret, "a 64-bit build of the program");
        return;
    }
    if (strcmp(mode, "kernel") == 0) {
        tell_kernel(doctor, ret);
        return;
    }
    finding_is(ret, CHECK_OK, "%s: %s", mode, prospect->why);
    finding_means(ret, "It is held at its fatal signal, and its core is read from its memory: "
                       "core_pattern and limits don't matter.");
}
