#include "init/tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init/handover.h"
#include "init/lending.h"
#include "trace/holding.h"
#include "trace/identity.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/core_signals.h"
#include "util/log.h"
#include "util/pid_reader.h"

#define HANDOVER_PATIENCE_MS 100
#define TAKE_BACK_TRIES 100
#define TAKE_BACK_PAUSE_NS 100000

#define TRACE_OPTIONS                                                                              \
    (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

static void resume(pid_t tid, int signo)
{
    /* ESRCH: SIGKILL was quicker. */
    (void)ptrace(PTRACE_CONT, tid, 0, (long)signo);
}

/* The stop was seen: wait(2) need not tell of it again. */
static void consume(pid_t tid)
{
    siginfo_t stop;

    (void)waitid(P_PID, (id_t)tid, &stop, WSTOPPED | WNOHANG | __WALL);
}

static int check_memory(pid_t pid, char *why, size_t why_size)
{
    char path[32];
    _cleanup_close_ int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return 0;
    snprintf(why, why_size, "/proc/PID/mem can't be opened (%s)", strerrordesc_np(errno));
    return -errno;
}

int tracer_probe(char *why, size_t why_size)
{
    pid_t pid = fork();
    int r = 0;

    if (pid == 0)
        for (;;)
            pause();
    if (pid < 0) {
        snprintf(why, why_size, "no process could be made");
        return -errno;
    }
    if (ptrace(PTRACE_SEIZE, pid, 0, (long)TRACE_OPTIONS) < 0) {
        r = -errno;
        snprintf(why, why_size, "ptrace is refused (%s: seccomp, Yama 2 or 3, or another tracer)",
                 strerrordesc_np(errno));
    } else {
        r = check_memory(pid, why, why_size);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, __WALL);
    return r;
}

static int seize(pid_t pid, const void *unused)
{
    (void)unused;
    return ptrace(PTRACE_SEIZE, pid, 0, (long)TRACE_OPTIONS) < 0 ? -errno : 0;
}

int tracer_seize(pid_t pid)
{
    return identity_as_owner(pid, seize, NULL);
}

/* Returns how many threads were seized now; @ret_error is the latest that couldn't be. */
static int seize_threads(pid_t pid, int *ret_error)
{
    struct pid_reader threads;
    int seized = 0;
    pid_t tid;

    *ret_error = 0;
    if (pid_reader_open_threads(&threads, pid) == 0)
        while ((tid = pid_reader_next(&threads))) {
            int r = tracer_seize(tid);

            if (r == 0)
                seized++;
            else if (r != -ESRCH && !tracee_is_ours(tid) && !tracee_is_dead(tid))
                *ret_error = r;
        }
    pid_reader_close(&threads);
    return seized;
}

/* Seizes all threads of a process, those too that are made meanwhile. */
static int seize_process(struct tracer *tracer, pid_t pid)
{
    int error, seized, all = 0;

    while ((seized = seize_threads(pid, &error)) > 0)
        all += seized;
    if (all > 0 && tracer->keeps)
        kept_open(&tracer->kept, pid);
    return error < 0 ? error : all;
}

int tracer_seize_all(struct tracer *tracer, pid_t pid)
{
    int r = seize_process(tracer, pid);
    struct pid_reader processes;
    pid_t other;

    if (r > 0 && pid_reader_open(&processes, "/proc") == 0) {
        while ((other = pid_reader_next(&processes)))
            if (tracee_tracer(other) == 0 && tracee_descends_from(other, pid))
                (void)seize_process(tracer, other);
        pid_reader_close(&processes);
    }
    return r;
}

static struct held_process *free_place(struct tracer *tracer)
{
    for (size_t i = 0; i < MOST_HELD; i++)
        if (!tracer->held[i].pid)
            return &tracer->held[i];
    return NULL;
}

static struct held_process *find(struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; pid && i < MOST_HELD; i++)
        if (tracer->held[i].pid == pid)
            return &tracer->held[i];
    return NULL;
}

static bool is_any_held(const struct tracer *tracer)
{
    for (size_t i = 0; i < MOST_HELD; i++)
        if (tracer->held[i].pid)
            return true;
    return false;
}

/* A fault of its own, which repeats itself. */
static bool is_fault(const siginfo_t *siginfo)
{
    const int signo = siginfo->si_signo;

    return siginfo->si_code > 0 &&
           (signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE);
}

/*
 * A blocked signal isn't delivered, and so has no stop: what is stopped at one is not blocked. To
 * the init of a pid namespace nothing is fatal but its own faults (pid_namespaces(7)).
 */
static bool is_fatal(pid_t tid, int signo, struct fatal_stop *ret)
{
    if (!signal_dumps_core(signo) || !tracee_has_default_action(tid, signo) ||
        ptrace(PTRACE_GETSIGINFO, tid, 0, &ret->siginfo) < 0)
        return false;
    ret->tid = tid;
    ret->is_init = false;
    ret->pid = tracee_process(tid, &ret->is_init);
    return ret->pid > 0 && (!ret->is_init || is_fault(&ret->siginfo));
}

static bool is_stop_signal(int signo)
{
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* clone(2) makes threads too, which share what is kept already. */
static void keep_forked(struct tracer *tracer, pid_t tid)
{
    unsigned long child;

    if (tracer->keeps && ptrace(PTRACE_GETEVENTMSG, tid, 0, &child) == 0 &&
        tracee_process((pid_t)child, NULL) == (pid_t)child)
        kept_open(&tracer->kept, (pid_t)child);
}

static bool lost_privileges(const struct statx *file, pid_t pid)
{
    uid_t uid;
    gid_t gid;

    if (!tracee_effective_ids(pid, &uid, &gid))
        return false;
    return ((file->stx_mode & S_ISUID) && file->stx_uid != uid) ||
           ((file->stx_mode & S_ISGID) && (file->stx_mode & S_IXGRP) && file->stx_gid != gid);
}

/*
 * Without CAP_SYS_PTRACE in its tracer, or with no_new_privs, a set-uid program is executed as if
 * it weren't (execve(2)). The first one is told.
 */
static void see_lost_privileges(struct tracer *tracer, pid_t pid)
{
    char path[32];
    struct statx file;
    int r;

    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (tracer->told_of_loss)
        return;
    identity_be_like(pid);
    r = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_MODE | STATX_UID | STATX_GID, &file);
    identity_be_oneself();
    if (r < 0 || !(file.stx_mode & (S_ISUID | S_ISGID)) || !lost_privileges(&file, pid))
        return;
    tracer->told_of_loss = true;
    log_warning("pid %d executed a set-uid or set-gid program, which gains nothing while it is "
                "traced: use --capture kernel where it needs to",
                pid);
}

static void see_exec(struct tracer *tracer, pid_t pid)
{
    if (tracer->keeps)
        kept_open(&tracer->kept, pid);
    see_lost_privileges(tracer, pid);
}

/* The process of a thread, if it is held. */
static struct held_process *held_of(struct tracer *tracer, pid_t tid)
{
    return is_any_held(tracer) ? find(tracer, tracee_process(tid, NULL)) : NULL;
}

bool tracer_see_stop(struct tracer *tracer, const siginfo_t *stop, struct fatal_stop *ret)
{
    const int signo = stop->si_status & 0xff, event = stop->si_status >> 8;
    const pid_t tid = stop->si_pid;
    struct held_process *held = held_of(tracer, tid);

    if (held && event == PTRACE_EVENT_EXEC)
        held->pid = 0; /* the thread at the signal is dead, and its process another program */
    else if (held)
        return false;
    if (lending_has_thread(tracer, tid)) {
        (void)ptrace(PTRACE_DETACH, tid, 0, (long)(event ? 0 : signo));
        return false;
    }

    switch (event) {
    case 0: /* signal-delivery-stop */
        if (is_fatal(tid, signo, ret))
            return true;
        resume(tid, signo);
        return false;
    case PTRACE_EVENT_STOP: /* group-stop; else a new tracee, or the end of a group-stop */
        if (is_stop_signal(signo))
            (void)ptrace(PTRACE_LISTEN, tid, 0, 0);
        else
            resume(tid, 0);
        return false;
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_CLONE:
        keep_forked(tracer, tid);
        resume(tid, 0);
        return false;
    case PTRACE_EVENT_EXEC:
        see_exec(tracer, tid);
        resume(tid, 0);
        return false;
    default:
        resume(tid, 0);
        return false;
    }
}

void tracer_pass(const struct fatal_stop *stop)
{
    holding_pass(stop->tid, stop->siginfo.si_signo, stop->is_init);
}

int tracer_hold(struct tracer *tracer, const struct fatal_stop *stop, struct crash_record *record)
{
    struct held_process *held = free_place(tracer);
    int notes, r;

    if (!held)
        return -EBUSY;
    r = holding_stop(stop->pid, stop->tid, &stop->siginfo, &notes);
    if (r < 0)
        return r;
    /* Another thread may have set a handler just before it was stopped. */
    if (!tracee_has_default_action(stop->tid, stop->siginfo.si_signo)) {
        close_fd(notes);
        return -EAGAIN;
    }
    log_debug("%d threads of pid %d are held", r, stop->pid);
    *held = (struct held_process){.pid = stop->pid,
                                  .tid = stop->tid,
                                  .signo = stop->siginfo.si_signo,
                                  .is_init = stop->is_init};
    record->is_held = true;
    record->crash_tid = stop->tid;
    record->threads_fd = notes;
    kept_hand_over(&tracer->kept, stop->pid, stop->tid, record);
    return 0;
}

bool tracer_holds(const struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; pid && i < MOST_HELD; i++)
        if (tracer->held[i].pid == pid)
            return true;
    return false;
}

void tracer_let_go(struct tracer *tracer, pid_t pid, bool has_core)
{
    struct held_process *held = find(tracer, pid);

    if (!held || held->is_let_go)
        return;
    held->is_let_go = true;
    if (has_core)
        holding_forbid_core(held->pid);
    holding_pass(held->tid, held->signo, held->is_init);
    if (held->is_init)
        held->pid = 0; /* its end is its parent's to see */
}

/* Waits for a tracee's stop, which PTRACE_INTERRUPT makes. Returns the signal it is at, 0 for none,
 * or -1 where it doesn't stop. */
static int wait_for_stop(pid_t tid)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < HANDOVER_PATIENCE_MS; i++) {
        siginfo_t stop = {0};

        if (waitid(P_PID, (id_t)tid, &stop, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 ||
            (stop.si_pid != 0 && stop.si_code != CLD_TRAPPED))
            return -1;
        if (stop.si_pid != 0) {
            consume(tid);
            return stop.si_status >> 8 ? 0 : stop.si_status;
        }
        nanosleep(&pause, NULL);
    }
    return -1;
}

static struct handed_over *find_handed_over(struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; pid && i < MOST_HANDED_OVER; i++)
        if (tracer->handed_over[i].pid == pid)
            return &tracer->handed_over[i];
    return NULL;
}

static void remember_handed_over(struct tracer *tracer, pid_t pid, pid_t to)
{
    struct handed_over *handed_over = find_handed_over(tracer, pid);

    if (!handed_over) {
        log_notice("pid %d is traced by the program itself: until it is let go, its crash is the "
                   "kernel's to capture",
                   pid);
        handed_over = &tracer->handed_over[tracer->next_handed_over++ % MOST_HANDED_OVER];
    }
    *handed_over = (struct handed_over){pid, to};
}

static void hand_over(struct tracer *tracer, pid_t tid, pid_t to)
{
    const pid_t pid = tid > 0 ? tracee_process(tid, NULL) : 0;
    int signo;

    if (!pid || find(tracer, pid) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0) /* not ours */
        return;
    signo = wait_for_stop(tid);
    if (signo < 0 || ptrace(PTRACE_DETACH, tid, 0, (long)signo) < 0)
        log_warning("thread %d can't be handed over to the program's own tracer", tid);
    else
        remember_handed_over(tracer, pid, to);
}

/* Its tracer's call is on its way: the tracee is free in a moment. */
static void take_back(struct tracer *tracer, pid_t tid)
{
    const struct timespec pause = {.tv_nsec = TAKE_BACK_PAUSE_NS};
    const pid_t pid = tid > 0 ? tracee_process(tid, NULL) : 0;

    if (!find_handed_over(tracer, pid))
        return;
    for (int i = 0; i < TAKE_BACK_TRIES; i++) {
        if (tracer_seize(tid) == 0) {
            log_info("thread %d is traced by coreinit again", tid);
            return;
        }
        nanosleep(&pause, NULL);
    }
}

/* A tracer that ends lets its tracees go without a word; @pid may be one's. */
static void take_back_from(struct tracer *tracer, pid_t pid)
{
    for (size_t i = 0; i < MOST_HANDED_OVER; i++) {
        struct handed_over *handed_over = &tracer->handed_over[i];
        int error;

        if (!handed_over->pid || handed_over->tracer != pid)
            continue;
        (void)seize_threads(handed_over->pid, &error);
        handed_over->pid = 0;
    }
}

void tracer_see_call(struct tracer *tracer)
{
    struct handover_call call;

    if (handover_read(tracer->calls_fd, &call) < 0)
        return;
    if (!call.ends)
        hand_over(tracer, call.tracee, call.tracer);
    handover_go_on(tracer->calls_fd, &call);
    if (call.ends)
        take_back(tracer, call.tracee);
}

bool tracer_is_first_word(struct tracer *tracer, pid_t pid)
{
    return !tracee_is_thread(pid) &&
           (tracee_is_ours(pid) || find_handed_over(tracer, pid) || lending_has(tracer, pid));
}

bool tracer_see_end(struct tracer *tracer, pid_t pid)
{
    struct held_process *held = find(tracer, pid);

    kept_forget(&tracer->kept, pid);
    take_back_from(tracer, pid);
    if (held)
        held->pid = 0;
    return held != NULL;
}
