#include "init/start.h"

#include <string.h>

#include "init/limits.h"
#include "init/spawn.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/log.h"

/* Workers whose own parents reap them tell of a crash by the kernel's core alone. */
static void watch_for_cores(struct init *init)
{
    int r;

    if (init->mode->is_traced || !init->mode->is_core_expected || !init->has_corectl ||
        init->watch.fd > 0)
        return;
    r = core_watch_open(&init->watch);
    if (r < 0)
        log_info("cores of processes that coreinit doesn't reap are not looked for: %s",
                 strerrordesc_np(-r));
    else
        init->witnesses.watch = &init->watch;
}

/* The kernel allowed a child to be traced, but not this one. */
static void fall_back(struct init *init)
{
    struct rlimit core = {0, 0};

    (void)getrlimit(RLIMIT_CORE, &core);
    mode_decide(CAPTURE_KERNEL, &core, init->options->program[0], init->mode);
    watch_for_cores(init);
}

int program_start(struct init *init)
{
    const int64_t now = monotonic_ms();
    char *const *program = init->options->program;
    pid_t pid;

    watch_for_cores(init);
    /* Descendants of an earlier life can trace nothing from now on: their calls aren't heard. */
    close_fd(take_fd(&init->tracer.calls_fd));
    oom_begin(&init->oom, now);
    pid = spawn_program(init->options->program, init->given, init->mode->is_on, &init->tracer);
    if (pid < 0)
        return pid;
    init->program = pid;
    init->has_ended = init->has_crashed = false;
    init->started = now;
    if (init->mode->is_traced && !init->tracer.is_on)
        fall_back(init);
    log_info("started %s as pid %d", program[0], pid);
    if (!init->mode->is_on)
        return 0;
    witness_look_at_program(&init->witnesses, pid, program);
    /* What is traced is looked at when it stops. */
    if (!init->tracer.is_on)
        init->next_look = now + witness_interval(&init->witnesses);
    return 0;
}
