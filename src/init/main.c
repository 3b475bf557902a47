/* coreinit: PID 1 of a container. main only says the order of things. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init/collector.h"
#include "init/explain.h"
#include "init/handover.h"
#include "init/init.h"
#include "init/limits.h"
#include "init/mode.h"
#include "init/options.h"
#include "init/privilege.h"
#include "init/signals.h"
#include "init/start.h"
#include "util/log.h"

/* Zombies come to PID 1, or to the nearest subreaper: ECS's initProcessEnabled puts another init in
 * front. */
static void become_reaper(void)
{
    if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        log_warning("cannot become a subreaper: %s; orphans of the program are not reaped",
                    strerrordesc_np(errno));
}

static int set_parent_death_signal(int signo)
{
    if (signo && prctl(PR_SET_PDEATHSIG, signo, 0, 0, 0) < 0)
        return log_errno(errno, "cannot set the parent death signal %d", signo);
    return 0;
}

/* Everything that makes a crash worth more; what can't be had is one line. */
static void prepare_capture(const struct options *options, bool has_corectl,
                            struct capture_mode *ret_mode)
{
    /* To trace without it would give nothing. */
    const enum capture_choice choice =
        has_corectl || options->capture == CAPTURE_OFF ? options->capture : CAPTURE_KERNEL;
    struct rlimit core = {0, 0};
    char why[256];
    int r = 0;

    if (options->capture != CAPTURE_OFF) {
        r = limits_raise_core(&core);
        if (r < 0)
            log_warning("cannot raise the core limit: %s", strerrordesc_np(-r));
        r = limits_set_coredump_filter();
        if (r < 0)
            log_info("coredump_filter stays as it is: %s", strerrordesc_np(-r));
        r = privilege_share_ptrace(why, sizeof(why));
    }
    mode_decide(choice, &core, options->program[0], ret_mode);
    /* What is traced already has no second tracer, whatever its privileges. */
    if (ret_mode->is_on && !ret_mode->is_traced && r < 0)
        log_line(options->quiet ? LEVEL_INFO : LEVEL_NOTICE,
                 "gdb -p may not attach to the program: %s", why);
}

static void show_banner(const struct options *options, const struct init *init)
{
    const struct crash_settings *settings = &options->settings;
    const enum on_crash on_crash = options->on_crash;

    if (options->quiet)
        return;
    log_notice(
        "coreinit " COREINIT_VERSION ": capture %s (%s), cores dir %s, destination %s%s%s%s, "
        "RUN_ID %s%s%s",
        init->mode->name, init->mode->why, settings->cores_dir[0] ? settings->cores_dir : "none",
        settings->bucket[0]      ? "s3://"
        : settings->cores_dir[0] ? "the cores dir only"
                                 : "nowhere",
        settings->bucket, settings->bucket[0] ? "/" : "",
        settings->bucket[0] ? settings->key_prefix : "", settings->run_id,
        on_crash == ON_CRASH_EXIT ? "" : ", on crash ",
        on_crash == ON_CRASH_EXIT ? "" : options_on_crash_name(on_crash));
    if (!init->mode->is_on)
        return;
    if (!settings->bucket[0] && settings->cores_dir[0])
        log_notice("S3_BUCKET is not set: bundles stay in %s, and go with the container unless it "
                   "is a volume",
                   settings->cores_dir);
    else if (settings->bucket[0] && strcmp(settings->key_prefix, "issue") == 0)
        log_notice("S3_KEY_PREFIX is 'issue': set it to something that tells whose crash it is, "
                   "e.g. team/service");
}

/* The directory, or where it isn't there yet the nearest one above it. Returns 0 or -errno. */
static int check_writable(const char *directory)
{
    char path[PATH_MAX];
    struct stat file;
    char *slash;

    /* corectl doesn't follow a link there either. */
    if (lstat(directory, &file) == 0 && !S_ISDIR(file.st_mode))
        return -ENOTDIR;
    strcpy(path, directory);
    while (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) < 0) {
        slash = strrchr(path, '/');
        if (errno != ENOENT || !slash || !path[1])
            return -errno;
        slash[slash == path] = '\0';
    }
    return 0;
}

/* What will be missing after a crash is said before it. */
static void warn_of_gaps(const struct init *init)
{
    const struct crash_settings *settings = &init->options->settings;
    int r;

    if (!init->mode->is_on)
        return;
    r = settings->bucket[0] || !settings->cores_dir[0] ? 0 : check_writable(settings->cores_dir);
    if (!settings->bucket[0] && !settings->cores_dir[0])
        log_warning("a crash will leave no bundle: there is no cores dir, and S3_BUCKET isn't set");
    if (r < 0)
        log_warning("a crash will leave no bundle: %s can't be written (%s), and S3_BUCKET isn't "
                    "set; mend: mount a volume there that uid %u may write",
                    settings->cores_dir, strerrordesc_np(-r), (unsigned)geteuid());
    if (init->mode->not_traced[0])
        log_warning("not traced: %s; capture falls back to the kernel's core",
                    init->mode->not_traced);
    if (!init->has_corectl)
        log_warning("no corectl at %s: crashes are told, but not bundled", init->corectl);
    else if (!init->mode->is_core_expected)
        log_warning("a crash will give no core: %s; mend: %s. Executable, libraries and crash.json "
                    "are bundled all the same",
                    init->mode->why, init->mode->mend);
}

/*
 * Descriptors of ours must not get the numbers 0 to 2 where those were given closed: the
 * collector's streams go there. Close-on-exec, so that the program finds them closed.
 */
static void hold_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Attaches to a process instead of starting one. Returns the exit status. */
static int attach_and_run(const struct options *options, struct capture_mode *mode,
                          struct init *init)
{
    char why[256];

    if (!init->has_corectl) {
        log_error("no corectl at %s: without it there is nothing to attach for", init->corectl);
        return 1;
    }
    (void)privilege_share_ptrace(why, sizeof(why)); /* what is missing shows when it attaches */
    attach_begin(options, &init->attach, mode);
    if (options->explains) {
        explain(options, mode, init->corectl, init->has_corectl);
        return 0;
    }
    show_banner(options, init);
    if (!options->quiet)
        warn_of_gaps(init);
    witness_init(&init->witnesses);
    init->tracer.is_on = true;
    init->tracer.keeps = !privilege_has(CAP_SYS_PTRACE);
    return init_run(init);
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct capture_mode mode;
    static struct init init; /* PID 1's state */
    struct signal_state given;
    int exit_status, r;

    hold_standard_streams();
    if (!options_read(argc, argv, &options, &exit_status))
        return exit_status;
    init.options = &options;
    init.mode = &mode;
    init.next_look = init.oom.next = init.collecting.deadline = INT64_MAX;
    init.tracer.calls_fd = init.oom.fd = init.collecting.release_fd = -1;

    init.signal_fd = signals_take_over(&given);
    if (init.signal_fd < 0) {
        log_errno(init.signal_fd, "cannot take over the signals");
        return 1;
    }
    if (set_parent_death_signal(options.parent_death_signal) < 0)
        return 1;
    init.has_corectl = collector_find(init.corectl, sizeof(init.corectl)) == 0;
    if (attach_is_asked(&options))
        return attach_and_run(&options, &mode, &init);
    become_reaper();
    prepare_capture(&options, init.has_corectl, &mode);
    if (options.explains) {
        explain(&options, &mode, init.corectl, init.has_corectl);
        return 0;
    }
    show_banner(&options, &init);
    if (!options.quiet)
        warn_of_gaps(&init);

    witness_init(&init.witnesses);
    oom_open(&init.oom);
    init.given = &given;
    init.tracer.is_on = mode.is_traced;
    init.tracer.hands_over = mode.is_traced && handover_is_possible();
    init.tracer.keeps = mode.is_traced && !privilege_has(CAP_SYS_PTRACE);
    r = program_start(&init);
    return r < 0 ? -r : init_run(&init);
}
