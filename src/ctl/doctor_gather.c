#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "capture/dumpable.h"
#include "capture/why_no_core.h"
#include "ctl/doctor.h"
#include "ctl/s3_settings.h"
#include "ctl/stand_in.h"
#include "trace/identity.h"
#include "trace/named.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"
#include "util/proc_text.h"

/*
 * corectl may be anything here: run by `docker exec` beside coreinit, or as its program, or in its
 * place, as the container's first process.
 */
static int find_subject(pid_t pid, const char *name, struct doctor *doctor)
{
    const pid_t self = getpid();
    struct target *target = &doctor->target;
    int r;

    if (!pid && !name && target_find(self, NULL, target) == 0 && target->coreinit &&
        tracee_parent(self) == target->coreinit) {
        doctor->subject = SUBJECT_OWN_PLACE;
        return 0;
    }
    if (!pid && !name && self == 1) {
        doctor->subject = SUBJECT_PREDICTION;
        return 0;
    }
    r = target_find(pid, name, target);
    doctor->is_idle = r == -ECHILD;
    if (r < 0 && (pid || name || (r != -ESRCH && !doctor->is_idle)))
        return r;
    if (r < 0)
        *target = (struct target){0};
    doctor->subject = target->coreinit ? SUBJECT_PROGRAM : SUBJECT_STRANGER;
    return 0;
}

static void ask_coreinit(char *const *words, struct doctor *doctor)
{
    static char *const no_words[] = {(char *)"/proc/self/exe", NULL};
    const pid_t coreinit = doctor->subject == SUBJECT_PREDICTION ? 0 : doctor->target.coreinit;
    _cleanup_free_ char **own_words = NULL;
    char executable[PATH_MAX];

    if (coreinit)
        words = own_words = explained_arguments(coreinit);
    explained_executable(coreinit, executable, sizeof(executable));
    explained_ask(executable, words && words[0] ? words : no_words, &doctor->coreinit);
    if (!doctor->coreinit.error[0] && strcmp(doctor->coreinit.version, COREINIT_VERSION) != 0)
        snprintf(doctor->coreinit.error, sizeof(doctor->coreinit.error),
                 "it is of version %s, and corectl of " COREINIT_VERSION, doctor->coreinit.version);
}

static void read_executable(const char *path, struct doctor *doctor)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    unsigned char ident[EI_NIDENT];
    struct stat file;

    if (fd < 0 || fstat(fd, &file) < 0)
        return;
    doctor->executable_size = (uint64_t)file.st_size;
    doctor->is_32_bit = pread_full(fd, ident, sizeof(ident), 0) == sizeof(ident) &&
                        memcmp(ident, ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS32;
}

static void read_process(struct doctor *doctor)
{
    struct crash_record *record = &doctor->record;
    const pid_t pid = doctor->target.pid ? doctor->target.pid : getpid();
    const struct {
        const char *name;
        char *text;
        size_t size;
    } files[] = {
        {"stat", record->stat, sizeof(record->stat)},
        {"status", record->status, sizeof(record->status)},
        {"limits", record->limits, sizeof(record->limits)},
    };
    char path[64];
    ssize_t n;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i].name);
        (void)read_text_at(AT_FDCWD, path, files[i].text, files[i].size);
    }
    snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
    identity_be_like(pid);
    n = readlink(path, record->cwd, sizeof(record->cwd) - 1);
    record->cwd[n > 0 ? n : 0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (doctor->subject != SUBJECT_PREDICTION)
        read_executable(path, doctor);
    identity_be_oneself();
    if (doctor->subject == SUBJECT_PREDICTION)
        read_executable(doctor->coreinit.program_path, doctor);

    /* As if it were just being killed. */
    record->pid = pid;
    record->wait_code = CLD_KILLED;
    record->wait_status = SIGSEGV;
    (void)clock_gettime(CLOCK_REALTIME, &record->ended_realtime);
    (void)clock_gettime(CLOCK_BOOTTIME, &record->ended_boottime);
    doctor->facts = crash_facts_of(record);
    doctor->dumpable = process_dumpable(pid, record->status);
}

static uint64_t kilobytes(const char *status, const char *name)
{
    const char *line = proc_line(status, name);

    return line ? strtoull(line, NULL, 10) << 10 : 0;
}

/* What coredump_filter 0x37 (core(5)) picks: of files what is private, be it resident or not. */
static uint64_t core_size(const char *status)
{
    static const char *const parts[] = {
        "RssAnon:", "RssShmem:", "VmSwap:", "HugetlbPages:", "VmExe:", "VmLib:"};
    uint64_t size = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        size += kilobytes(status, parts[i]);
    return size;
}

/* A container's root is an overlay, or its runtime or orchestrator has left a trace. */
static bool is_container(const struct container *container)
{
    struct statfs root;

    return container->id[0] || container->orchestrator != ORCHESTRATOR_UNKNOWN ||
           (statfs("/", &root) == 0 && root.f_type == OVERLAYFS_SUPER_MAGIC);
}

static void look_at_places(struct doctor *doctor)
{
    const struct explained *coreinit = &doctor->coreinit;
    char hostname[256] = "", name[384];
    struct s3_settings settings;

    container_read("", &doctor->container);
    doctor->is_container = is_container(&doctor->container);
    if (coreinit->error[0])
        return;
    spool_place_look(coreinit->settings.cores_dir, &doctor->place);
    if (!coreinit->settings.bucket[0])
        return;
    s3_settings_of(&coreinit->settings, NULL, &settings);
    (void)gethostname(hostname, sizeof(hostname) - 1);
    snprintf(name, sizeof(name), "doctor-probe_%s_%d", hostname, getpid());
    doctor_probe(&settings, name, &doctor->probe);
}

__attribute__((format(printf, 2, 3))) static void lacks_core(struct prospect *prospect,
                                                             const char *format, ...)
{
    va_list arguments;

    prospect->has_core = false;
    va_start(arguments, format);
    vsnprintf(prospect->no_core, sizeof(prospect->no_core), format, arguments);
    va_end(arguments);
}

static void tell_32_bit(struct doctor *doctor)
{
    lacks_core(&doctor->prospect, "%s is a 32-bit program, whose core corectl can't make or read",
               doctor->target.pid ? doctor->target.name : doctor->coreinit.program);
}

/* Of a process that isn't traced, the kernel's way is all there is. */
static void foresee_kernel(struct doctor *doctor)
{
    struct prospect *prospect = &doctor->prospect;

    strcpy(prospect->mode, "kernel");
    prospect->has_core = true;
    if (core_settings_read(&doctor->settings) < 0) {
        lacks_core(prospect, "core_pattern cannot be read; mount /proc into the container");
        return;
    }
    if (doctor->dumpable == 0) /* first: it hides the working directory as well */
        lacks_core(prospect,
                   "the process is undumpable: it changed its user, is set-user-ID, or called "
                   "prctl(PR_SET_DUMPABLE, 0); were it traced, its core could be taken all the "
                   "same");
    else if (why_no_core_would_come(&doctor->record, &doctor->facts, &doctor->settings,
                                    prospect->no_core, sizeof(prospect->no_core)))
        prospect->has_core = false;
}

/* What runs is looked at, and what it was meant to be is not asked. */
static void foresee_process(struct doctor *doctor)
{
    struct prospect *prospect = &doctor->prospect;
    const struct target *target = &doctor->target;
    char name[256];

    if (target->is_traced) {
        strcpy(prospect->mode, "ptrace");
        prospect->has_core = true;
        snprintf(prospect->why, sizeof(prospect->why), "coreinit (pid %d) traces %s (pid %d)%s%s",
                 target->coreinit, target->name, target->pid, doctor->coreinit.why[0] ? ": " : "",
                 doctor->coreinit.why);
    } else {
        foresee_kernel(doctor);
        snprintf(prospect->why, sizeof(prospect->why), "%s (pid %d) runs untraced%s%s",
                 target->name, target->pid, prospect->has_core ? ": " : "",
                 prospect->has_core ? doctor->coreinit.why : "");
    }
    if (doctor->is_32_bit)
        tell_32_bit(doctor);
    if (!target->other_tracer)
        return;
    named_read(target->other_tracer, name, sizeof(name));
    snprintf(prospect->why, sizeof(prospect->why),
             "%s (pid %d) traces %s (pid %d), so that coreinit can't", name, target->other_tracer,
             target->name, target->pid);
    lacks_core(prospect, "%s (pid %d) traces it, and sees a crash first", name,
               target->other_tracer);
}

static void foresee_prediction(struct doctor *doctor)
{
    const struct explained *coreinit = &doctor->coreinit;
    struct prospect *prospect = &doctor->prospect;

    snprintf(prospect->mode, sizeof(prospect->mode), "%s", coreinit->capture);
    snprintf(prospect->why, sizeof(prospect->why), "%s", coreinit->why);
    prospect->has_core = coreinit->core_expected;
    if (doctor->is_32_bit)
        tell_32_bit(doctor);
    else if (!coreinit->core_expected)
        snprintf(prospect->no_core, sizeof(prospect->no_core), "%s; %s", coreinit->why,
                 coreinit->mend);
}

static void foresee(struct doctor *doctor)
{
    const struct explained *coreinit = &doctor->coreinit;
    struct prospect *prospect = &doctor->prospect;

    strcpy(prospect->mode, "none");
    if (doctor->subject == SUBJECT_STRANGER) {
        snprintf(prospect->no_core, sizeof(prospect->no_core), "%s",
                 doctor->is_idle ? "coreinit has no process now" : "no coreinit runs here");
        return;
    }
    if (coreinit->error[0]) {
        snprintf(prospect->no_core, sizeof(prospect->no_core), "coreinit %s: %s",
                 doctor->subject == SUBJECT_PREDICTION ? "would not start" : "cannot be asked",
                 coreinit->error);
        return;
    }
    if (doctor_lacks_program(doctor)) {
        snprintf(prospect->no_core, sizeof(prospect->no_core), "%s can't be started",
                 coreinit->program);
        return;
    }
    if (strcmp(coreinit->capture, "off") == 0) {
        strcpy(prospect->mode, "off");
        snprintf(prospect->why, sizeof(prospect->why), "as asked");
        snprintf(prospect->no_core, sizeof(prospect->no_core), "capture is off, as asked");
        return;
    }
    prospect->is_bundled = coreinit->has_corectl;
    if (doctor->subject == SUBJECT_PREDICTION)
        foresee_prediction(doctor);
    else
        foresee_process(doctor);
}

static bool is_delivered(const struct doctor *doctor)
{
    if (!doctor->prospect.is_bundled)
        return false;
    if (doctor->coreinit.settings.bucket[0])
        return doctor->probe.failed >= S3_PROBE_DELETE;
    return doctor->place.error == 0 && doctor_has_room(doctor) && doctor_place_lasts(doctor);
}

int doctor_gather(pid_t pid, const char *name, char *const *words, struct doctor *ret)
{
    int r = 0;

    if (words)
        ret->subject = SUBJECT_PREDICTION;
    else
        r = find_subject(pid, name, ret);
    if (r < 0)
        return r;
    if (ret->target.coreinit && tracee_shares_mounts(ret->target.coreinit) == 0) {
        log_error("coreinit (pid %d) is in another container: run corectl doctor there",
                  ret->target.coreinit);
        return -EXDEV;
    }
    if (ret->subject == SUBJECT_PROGRAM)
        stand_in_for(ret->target.coreinit, ret->lacks, sizeof(ret->lacks));
    if (ret->subject != SUBJECT_STRANGER)
        ask_coreinit(words, ret);
    else
        strcpy(ret->coreinit.error, "none runs here");
    (void)core_settings_read(&ret->settings);
    read_process(ret);
    if (ret->subject == SUBJECT_PROGRAM)
        ret->size = core_size(ret->record.status);
    look_at_places(ret);
    foresee(ret);
    ret->is_delivered = is_delivered(ret);
    return 0;
}
