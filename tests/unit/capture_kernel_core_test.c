/* Finding the kernel's core, and not taking another file for it. */

#include "capture_testing.h"

#include <sched.h>
#include <sys/mount.h>

#include "capture/kernel_core.h"

static struct core_settings settings_of(const char *pattern)
{
    struct core_settings settings = {.uses_pid = false};

    assert_true(strlen(pattern) < sizeof(settings.pattern));
    strcpy(settings.pattern, pattern);
    return settings;
}

/* What looking for a core came to. */
struct result {
    int r;
    struct kernel_core *core;
    char why[512];
    const char *log; /* valid until the next */
};

static struct result find(const struct crash_record *record, const char *pattern)
{
    const struct core_settings settings = settings_of(pattern);
    struct result result = {0};

    begin_log();
    result.r = kernel_core_find_by(record, &settings, &result.core, result.why, sizeof(result.why));
    result.log = end_log();
    return result;
}

static void expect_found(const struct crash_record *record, const char *pattern, const char *path)
{
    struct result result = find(record, pattern);

    assert_int_equal(result.r, 0);
    assert_string_equal(result.core->path, path);
    kernel_core_free(result.core);
}

/* The candidate is refused, and one line tells why. */
static void expect_refused(const struct crash_record *record, const char *pattern,
                           const char *reason)
{
    struct result result = find(record, pattern);

    kernel_core_free(result.core);
    assert_int_equal(result.r, -ENOENT);
    if (!strstr(result.log, reason))
        fail_msg("'%s' is not in '%s'", reason, result.log);
    assert_ptr_equal(strchr(result.log, '\n'), strrchr(result.log, '\n'));
    assert_non_null(strstr(result.log, "coreinit: warning: "));
}

/*
 * A process that ended a moment ago by SIGSEGV and left no core, as if the kernel had written one:
 * the test plants it. With a relative pattern and none that is taken, everything is looked through.
 */
static void record_crash_without_core(const char *cwd, struct crash_record *ret)
{
    crash_in(cwd, 0, write_to_null, ret);
    assert_int_equal(ret->wait_code, CLD_KILLED);
    ret->wait_code = CLD_DUMPED;
}

/* The same as a shell reports it of a child of its, for which nothing more is looked through. */
static void record_a_shells_report(const char *cwd, struct crash_record *ret)
{
    record_crash_without_core(cwd, ret);
    ret->wait_code = CLD_EXITED;
    ret->wait_status = 128 + SIGSEGV;
    ret->witness_pid = 0;
}

static void put_core_of(const char *path, const struct elf_prpsinfo *process, int signo)
{
    _cleanup_close_ int from = make_core_of(process, signo);
    char bytes[4096];
    ssize_t n = pread_full(from, bytes, sizeof(bytes), 0);

    assert_true(n > 0);
    write_file(path, bytes, (size_t)n);
}

static void put_core(const char *path, pid_t pid, int signo)
{
    const struct elf_prpsinfo process = made_process(pid);

    put_core_of(path, &process, signo);
}

static void set_age(const char *path, const struct timespec *of, time_t seconds)
{
    const struct timespec times[2] = {*of, {.tv_sec = of->tv_sec + seconds}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void the_kernels_own_core_is_found_where_the_process_was(void **state)
{
    struct crash_record record;
    struct result result;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    result = find(&record, "core");
    assert_int_equal(result.r, 0);
    assert_string_equal(result.core->path, in_directory(*state, "core"));
    assert_string_equal(result.core->name, "core");
    assert_int_equal(result.core->info->pid, record.pid);
    kernel_core_free(result.core);
}

static void the_kernels_own_settings_are_read(void **state)
{
    struct core_settings settings;
    struct crash_record record;
    struct kernel_core *core;
    char why[512];

    assert_int_equal(core_settings_read(&settings), 0);
    if (strcmp(settings.pattern, "core") != 0 || settings.uses_pid)
        skip(); /* the tests' cores have another name than the kernel gave them */
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    assert_int_equal(kernel_core_find(&record, &core, why, sizeof(why)), 0);
    assert_int_equal(core->info->pid, record.pid);
    kernel_core_free(core);
}

static void every_directory_of_the_record_is_looked_into(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    put_core(in_directory(*state, "core"), record.pid, SIGSEGV);
    strcpy(record.directories[3], record.cwd);
    strcpy(record.cwd, "/proc");
    strcpy(record.directories[0], "/nowhere/at/all");
    expect_found(&record, "core", in_directory(*state, "core"));
}

static void wildcards_find_what_cannot_be_known(void **state)
{
    struct crash_record record;
    char path[PATH_MAX], pattern[256];

    record_crash_without_core(*state, &record);
    assert_int_equal(mkdir(in_directory(*state, "cores"), 0755), 0);
    snprintf(path, sizeof(path), "%s/cores/core.worker.%d.1795000000", (char *)*state, record.pid);
    put_core(path, record.pid, SIGSEGV);
    expect_found(&record, "cores/core.%e.%p.%t", path);
    snprintf(pattern, sizeof(pattern), "%s/cores/core.%%e.%%p.%%t", (char *)*state);
    expect_found(&record, pattern, path);
    /* In a directory's name as well. */
    expect_found(&record, "%e/core.%e.%p.%t", path);
}

static void a_name_is_found_however_odd_its_directory_is(void **state)
{
    struct crash_record record;
    const char *directory = in_directory(*state, "a*[b]?\\c");

    assert_int_equal(mkdir(directory, 0755), 0);
    record_crash_without_core(directory, &record);
    put_core(in_directory(directory, "core"), record.pid, SIGSEGV);
    expect_found(&record, "core", in_directory(directory, "core"));
}

static void a_stale_core_of_the_same_name_is_refused(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    set_age(path, &record.ended_realtime, -60);
    expect_refused(&record, path, "it is older than the process");
}

static void the_coarse_clock_of_file_systems_is_allowed_for(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    set_age(path, &record.ended_realtime, 0);
    expect_found(&record, "core", path);
}

static void cores_of_another_pid_or_signal_are_refused(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    put_core(in_directory(*state, "core"), record.pid + 1, SIGSEGV);
    expect_refused(&record, in_directory(*state, "core"), "it is the core of pid");
    put_core(in_directory(*state, "core"), record.pid, SIGBUS);
    expect_refused(&record, in_directory(*state, "core"), "a process that signal 7 killed");
}

static void a_symbolic_link_is_refused_anywhere_in_the_programs_directories(void **state)
{
    struct elf_prpsinfo process = made_process(7);
    struct crash_record record;
    char pattern[256];

    assert_int_equal(mkdir(in_directory(*state, "real"), 0755), 0);
    record_a_shells_report(*state, &record);
    process.pr_ppid = record.pid;
    put_core_of(in_directory(*state, "real/core"), &process, SIGSEGV);

    assert_int_equal(symlink("real/core", in_directory(*state, "core")), 0);
    expect_refused(&record, "core", "it is a symbolic link");

    assert_int_equal(symlink("real", in_directory(*state, "planted")), 0);
    strcpy(record.cwd, in_directory(*state, "planted"));
    assert_int_equal(find(&record, "core").r, -ENOENT);
    strcpy(record.cwd, *state);
    assert_int_equal(find(&record, "planted/core").r, -ENOENT);
    assert_int_equal(find(&record, "planted%e/core").r, -ENOENT);

    /* The administrator's own directory may be one. */
    snprintf(pattern, sizeof(pattern), "%s/planted/core", (char *)*state);
    expect_found(&record, pattern, pattern);
}

static void what_is_no_regular_file_is_refused_without_being_opened(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    assert_int_equal(mkfifo(in_directory(*state, "core"), 0666), 0);
    alarm(10); /* a fifo that is opened never returns */
    expect_refused(&record, in_directory(*state, "core"), "it is not a regular file");
    alarm(0);
    assert_int_equal(unlink(in_directory(*state, "core")), 0);
    assert_int_equal(mkdir(in_directory(*state, "core"), 0755), 0);
    expect_refused(&record, in_directory(*state, "core"), "it is not a regular file");
}

static void a_file_with_a_second_name_is_refused(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    assert_int_equal(link(path, in_directory(*state, "second")), 0);
    expect_refused(&record, path, "it has 2 links");
}

static void a_file_of_another_user_is_refused(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    if (getuid() != 0)
        skip();
    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    assert_int_equal(chown(path, 12345, 12345), 0);
    expect_refused(&record, path, "it belongs to uid 12345");
}

static void what_is_no_core_is_refused(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    write_file(in_directory(*state, "core"), "core\n", 5);
    expect_refused(&record, in_directory(*state, "core"), "it is not an ELF core");
}

static void a_core_cut_before_its_notes_is_refused_and_is_the_reason(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");
    struct result result;

    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    assert_int_equal(truncate(path, 200), 0);
    expect_refused(&record, path, "it is cut before its notes end");
    strcpy(record.limits, "Max core file size        8192                 8192   bytes\n");
    result = find(&record, path);
    assert_non_null(strstr(result.why, "it is cut before its notes end"));
}

static void cores_of_others_beside_a_wildcard_are_passed_over_quietly(void **state)
{
    struct crash_record record;
    struct result result;

    record_crash_without_core(*state, &record);
    put_core(in_directory(*state, "core.1"), record.pid + 1, SIGSEGV);
    put_core(in_directory(*state, "core.2"), record.pid, SIGSEGV);
    put_core(in_directory(*state, "core.3"), record.pid, SIGILL);
    put_core(in_directory(*state, "core.4"), record.pid, SIGSEGV);
    set_age(in_directory(*state, "core.4"), &record.ended_realtime, -1000);
    result = find(&record, "core.%t");
    assert_int_equal(result.r, 0);
    assert_string_equal(result.core->name, "core.2");
    assert_string_equal(result.log, "");
    kernel_core_free(result.core);
}

static void the_newest_of_several_is_taken(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"core.b", "core.a", "core.c"};
        const char *path = in_directory(*state, names[i]);

        put_core(path, record.pid, SIGSEGV);
        set_age(path, &record.ended_realtime, i == 1 ? 2 : 1);
    }
    expect_found(&record, "core.%t", in_directory(*state, "core.a"));
}

static void any_number_of_planted_files_costs_a_few_log_lines(void **state)
{
    struct crash_record record;
    struct result result;
    size_t lines = 0;

    record_crash_without_core(*state, &record);
    for (int i = 0; i < 500; i++) {
        char name[32];

        snprintf(name, sizeof(name), "core.%d", i);
        assert_int_equal(symlink("/etc/shadow", in_directory(*state, name)), 0);
    }
    result = find(&record, in_directory(*state, "core.%t"));
    assert_int_equal(result.r, -ENOENT);
    for (const char *at = result.log; (at = strchr(at, '\n')); at++)
        lines++;
    assert_true(lines > 0 && lines < 20);
}

static void crash_in_a_child_and_report_it_as_a_shell_does(void)
{
    pid_t pid = fork();

    if (pid == 0)
        write_to_null();
    waitpid(pid, NULL, 0);
    _exit(128 + SIGSEGV);
}

static void a_shell_that_reports_its_childs_crash_has_its_childs_core_found(void **state)
{
    struct crash_record record;
    struct result result;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, crash_in_a_child_and_report_it_as_a_shell_does, &record);
    assert_int_equal(record.wait_code, CLD_EXITED);
    result = find(&record, "core");
    assert_int_equal(result.r, 0);
    assert_int_not_equal(result.core->info->pid, record.pid);
    kernel_core_free(result.core);

    /* Another signal than the one it reports was another crash. */
    record.wait_status = 128 + SIGBUS;
    assert_int_equal(find(&record, "core").r, -ENOENT);
    /* And an exit status that means no signal is no crash at all. */
    record.wait_status = 1;
    result = find(&record, "core");
    assert_int_equal(result.r, -ENOENT);
    assert_non_null(strstr(result.why, "status 1"));
}

static void the_pid_of_the_process_s_own_namespace_counts(void **state)
{
    struct crash_record record;

    record_crash_without_core(*state, &record);
    put_core(in_directory(*state, "core"), 7, SIGSEGV);
    strcpy(record.status, "Name:\tx\nNStgid:\t900\t7\nNSpid:\t900\t7\nUid:\t0\t0\t0\t0\n");
    expect_found(&record, "core", in_directory(*state, "core"));
}

static void where_the_kernel_wrote_none_nothing_is_looked_at(void **state)
{
    struct crash_record record;
    struct result result;

    record_crash_without_core(*state, &record);
    record.wait_code = CLD_KILLED;
    put_core(in_directory(*state, "core"), record.pid, SIGSEGV);
    assert_int_equal(mkdir(in_directory(*state, "core.1"), 0755), 0);
    result = find(&record, "core");
    assert_int_equal(result.r, -ENOENT);
    assert_string_equal(result.log, "");
    assert_non_null(strstr(result.why, "its core limit was 0 bytes"));
    result = find(&record, in_directory(*state, "core.1"));
    assert_int_equal(result.r, -ENOENT);
    assert_string_equal(result.log, "");
    /* But for the end that wait(2) told, it would have been found. */
    record.wait_code = CLD_DUMPED;
    expect_found(&record, "core", in_directory(*state, "core"));
}

static void a_core_that_the_limit_cut_is_one_that_the_kernel_wrote(void **state)
{
    struct crash_record record;
    struct result result;

    need_cores_in_files();
    crash_in(*state, 64 * 1024, write_to_null, &record);
    assert_int_equal(record.wait_code, CLD_DUMPED);
    result = find(&record, "core");
    assert_int_equal(result.r, 0);
    assert_true(result.core->info->truncated);
    kernel_core_free(result.core);
}

static void a_core_of_another_name_is_refused(void **state)
{
    struct elf_prpsinfo process;
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    process = made_process(record.pid);
    strcpy(process.pr_fname, "neighbour");
    put_core_of(path, &process, SIGSEGV);
    expect_refused(&record, path, "it is the core of another process of that pid, neighbour");
    /* A name that procfs escapes can't be compared. */
    memcpy(strchr(record.stat, '(') + 1, "\\012", 4);
    expect_found(&record, path, path);
}

static void a_core_of_another_parent_is_refused_where_the_parent_is_certain(void **state)
{
    struct elf_prpsinfo process;
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    process = made_process(record.pid);
    process.pr_ppid++;
    put_core_of(path, &process, SIGSEGV);
    expect_refused(&record, path, "a child of pid ");
    /* A descendant's parent may have died since. */
    record.is_program = false;
    expect_found(&record, path, path);
    record.is_program = true;
    snprintf(record.status, sizeof(record.status), "NSpid:\t900\t%d\n", record.pid);
    expect_found(&record, path, path);
}

static void beneath_a_shell_only_a_core_of_its_descendants_is_taken(void **state)
{
    static const struct {
        pid_t pid, ppid, witness;
        bool found;
    } cases[] = {
        {70, 50, 0, true},   /* the shell's child */
        {70, 60, 70, true},  /* the witness */
        {70, 60, 60, true},  /* the witness's child */
        {70, 60, 0, false},  /* anyone's */
        {70, 60, 61, false}, /* not the witness's either */
        {70, 0, 0, false},   /* another container's first process, and no witness */
        {50, 1, 0, false},   /* another container's process of the shell's pid */
    };
    struct crash_record record;
    const char *path = in_directory(*state, "core");

    record_a_shells_report(*state, &record);
    strcpy(record.status, "NSpid:\t900\t50\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct elf_prpsinfo process = {
            .pr_pid = cases[i].pid, .pr_ppid = cases[i].ppid, .pr_fname = "child"};

        record.witness_pid = cases[i].witness;
        put_core_of(path, &process, SIGSEGV);
        if (cases[i].found)
            expect_found(&record, "core", path);
        else
            expect_refused(&record, "core", "and none of the shell's");
    }
}

static int make_maps(uint64_t start, uint64_t offset, const char *path)
{
    int fd = memfd_create("maps", MFD_CLOEXEC);

    assert_true(fd >= 0);
    dprintf(fd, "%lx-%lx r-xp %08lx 08:01 1 %s\n", start, start + 0x1000, offset, path);
    return fd;
}

static void a_core_whose_program_lay_elsewhere_in_memory_is_refused(void **state)
{
    struct crash_record record;
    const char *path = in_directory(*state, "core");
    _cleanup_close_ int own = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int elsewhere = -1, a_part = -1, before_execve = -1;
    char exe[PATH_MAX] = "";

    need_cores_in_files();
    assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
    elsewhere = make_maps(0x10000000, 0, exe);
    a_part = make_maps(0x10000000, 0x1000, exe);
    before_execve = make_maps(0x10000000, 0, "/bin/another");
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);

    record.maps_fd = own; /* fork(2) keeps the addresses */
    expect_found(&record, path, path);
    record.maps_fd = elsewhere;
    expect_refused(&record, path, "which lay elsewhere in memory");
    record.maps_fd = a_part;
    expect_found(&record, path, path);
    record.maps_fd = before_execve;
    expect_found(&record, path, path);
    record.maps_fd = elsewhere;
    record.witness_pid++; /* another process's maps */
    expect_found(&record, path, path);
}

/*
 * Looks for the core with the directory as root, so that everywhere is there; it has a folder for
 * procfs. Returns as kernel_core_find() does, -EPERM without privilege.
 */
static int find_below(const char *root, const struct crash_record *record)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct result result;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("/proc", in_directory(root, "proc"), NULL, MS_BIND, NULL) < 0 || chroot(root) < 0)
            _exit(EPERM);
        result = find(record, "core");
        kernel_core_free(result.core);
        _exit(-result.r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void where_others_cores_lie_the_arguments_must_agree(void **state)
{
    static const char cmdline[] = "server\0--one";
    static const struct {
        const char *args;
        int r;
    } cases[] = {
        {"server --one ", 0}, {"server --two ", -ENOENT}, {"server --one more ", 0},
        {"serv", 0},          {"another ", -ENOENT},      {"", 0},
    };
    struct elf_prpsinfo process;
    struct crash_record record = {.maps_fd = -1};
    const char *path = in_directory(*state, "deep/core");

    assert_int_equal(mkdir(in_directory(*state, "proc"), 0755), 0);
    if (find_below(*state, &record) == -EPERM) {
        print_message("skipped: no mounts without privilege\n");
        skip();
    }
    assert_int_equal(mkdir(in_directory(*state, "deep"), 0755), 0);
    record_crash_without_core(*state, &record);
    record.cwd[0] = '\0';
    process = made_process(record.pid);
    memcpy(record.cmdline, cmdline, sizeof(cmdline) - 1); /* cut: as far as it goes */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        record.cmdline_size = sizeof(cmdline) - 1;
        strcpy(process.pr_psargs, cases[i].args);
        put_core_of(path, &process, SIGSEGV);
        assert_int_equal(find_below(*state, &record), cases[i].r);
        record.cmdline_size = 0;
        assert_int_equal(find_below(*state, &record), 0);
        /* Where it was to be, a program that rewrites its arguments is no surprise. */
        record.cmdline_size = sizeof(cmdline) - 1;
        expect_found(&record, path, path);
    }
}

static void removing_takes_the_very_file_and_no_other(void **state)
{
    struct crash_record record;
    struct result result;
    const char *path = in_directory(*state, "core");

    record_crash_without_core(*state, &record);
    put_core(path, record.pid, SIGSEGV);
    result = find(&record, "core");
    assert_int_equal(result.r, 0);
    assert_int_equal(rename(path, in_directory(*state, "moved")), 0);
    assert_int_equal(kernel_core_remove(result.core), -ENOENT);
    write_file(path, "another", 7);
    assert_int_equal(kernel_core_remove(result.core), -ESTALE);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(rename(in_directory(*state, "moved"), path), 0);
    assert_int_equal(kernel_core_remove(result.core), 0);
    assert_int_equal(access(path, F_OK), -1);
    kernel_core_free(result.core);
}

/* Cores that appear: of a child's child, as a supervisor's workers are; the test is coreinit. */

struct family {
    pid_t parent, worker;
    int go, news; /* lets the worker crash; tells its pid, and its end */
};

static void wait_and_crash(void)
{
    char c;

    if (read(STDIN_FILENO, &c, 1) == 1)
        write_to_null();
}

static void execute_and_crash(void)
{
    execl("/bin/sh", "sh", "-c", "read go; kill -SEGV $$", (char *)NULL);
}

static void execute_another_and_crash(void)
{
    execl(getenv("PROGRAM"), "program", "-c", "read go; kill -SEGV $$", (char *)NULL);
}

static _Noreturn void be_parent(const char *cwd, void (*worker)(void), int options, int go,
                                int news)
{
    siginfo_t end;
    pid_t pid;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(go, STDIN_FILENO);
    pid = fork();
    if (pid == 0) {
        prepare_to_crash(cwd, RLIM_INFINITY);
        worker();
        _exit(97);
    }
    if (write(news, &pid, sizeof(pid)) < 0 || waitid(P_PID, (id_t)pid, &end, options) < 0 ||
        write(news, &pid, sizeof(pid)) < 0)
        _exit(96);
    for (;;)
        pause();
}

/* @options  the parent's for waitid(2): with WNOWAIT the worker stays a zombie */
static void begin_family(const char *cwd, void (*worker)(void), int options, struct family *ret)
{
    int go[2], news[2];

    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(news, O_CLOEXEC), 0);
    ret->parent = fork();
    assert_true(ret->parent >= 0);
    if (ret->parent == 0)
        be_parent(cwd, worker, options, go[0], news[1]);
    close(go[0]);
    close(news[1]);
    ret->go = go[1];
    ret->news = news[0];
    assert_int_equal(read(ret->news, &ret->worker, sizeof(pid_t)), sizeof(pid_t));
}

static void let_worker_crash(const struct family *family, const char *cwd)
{
    pid_t pid;

    assert_int_equal(write(family->go, "\n", 1), 1);
    assert_int_equal(read(family->news, &pid, sizeof(pid)), sizeof(pid));
    call_it_core(cwd);
}

static void end_family(const struct family *family)
{
    close(family->go);
    close(family->news);
    assert_int_equal(kill(family->parent, SIGKILL), 0);
    assert_int_equal(waitpid(family->parent, NULL, 0), family->parent);
}

static struct crash_record record_of_appeared(const char *path)
{
    struct crash_record record = {.exe_fd = -1, .maps_fd = -1};

    assert_true(strlen(path) < sizeof(record.appeared));
    strcpy(record.appeared, path);
    return record;
}

static struct result find_appeared(const struct crash_record *record, const char *pattern)
{
    const struct core_settings settings = settings_of(pattern);
    struct result result = {0};

    begin_log();
    result.r = kernel_core_find_appeared_by(record, &settings, getpid(), &result.core, result.why,
                                            sizeof(result.why));
    result.log = end_log();
    return result;
}

static void expect_appeared(const struct crash_record *record, const char *pattern, bool stays)
{
    struct result result = find_appeared(record, pattern);

    if (result.r < 0)
        fail_msg("%s", result.why);
    assert_string_equal(result.core->path, record->appeared);
    assert_int_equal(result.core->stays, stays);
    kernel_core_free(result.core);
}

static void expect_ignored(const struct crash_record *record, const char *pattern,
                           const char *reason)
{
    struct result result = find_appeared(record, pattern);

    kernel_core_free(result.core);
    assert_int_equal(result.r, -ENOENT);
    if (!strstr(result.why, reason))
        fail_msg("'%s' is not in '%s'", reason, result.why);
    assert_string_equal(result.log, "");
}

static void a_core_that_appeared_is_ours_where_its_parent_forked_it_and_lives(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    struct result result;
    struct family family;

    need_cores_in_files();
    begin_family(*state, wait_and_crash, WEXITED, &family);
    expect_ignored(&record, "core", "it is gone");
    let_worker_crash(&family, *state);
    result = find_appeared(&record, "core");
    assert_int_equal(result.r, 0);
    assert_int_equal(result.core->info->pid, family.worker);
    assert_false(result.core->stays);
    assert_non_null(strstr(result.log, "was killed by SIGSEGV"));
    assert_int_equal(kernel_core_remove(result.core), 0);
    kernel_core_free(result.core);
    end_family(&family);
}

static void a_core_whose_process_is_not_waited_for_stays(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    struct family family;

    need_cores_in_files();
    begin_family(*state, wait_and_crash, WEXITED | WNOWAIT, &family);
    let_worker_crash(&family, *state);
    expect_appeared(&record, "core", true);
    end_family(&family);
}

static void a_core_of_another_program_than_its_parents_stays(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    char host[256], path[PATH_MAX];
    struct family family;

    need_cores_in_files();
    if (unshare(CLONE_NEWUTS) < 0) {
        print_message("skipped: no host's name of its own without privilege\n");
        skip();
    }
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    begin_family(*state, execute_and_crash, WEXITED, &family);
    let_worker_crash(&family, *state);
    expect_appeared(&record, "core", true);

    snprintf(path, sizeof(path), "%s/core.%s.%d", (char *)*state, host, family.worker);
    assert_int_equal(rename(record.appeared, path), 0);
    record = record_of_appeared(path);
    expect_appeared(&record, "core.%h.%p", true);
    expect_appeared(&record, "/any/where/core.%h.%p", true);

    end_family(&family);
    expect_ignored(&record, "core.%h.%p", "no descendant of coreinit's");
}

static void a_core_that_is_not_named_so_on_this_host_is_refused(void **state)
{
    struct crash_record record;
    struct family family;
    const char *path = in_directory(*state, "core");

    need_cores_in_files();
    begin_family(*state, wait_and_crash, WEXITED, &family);
    let_worker_crash(&family, *state);
    /* A copy that someone keeps, and a neighbour's. */
    assert_int_equal(rename(path, in_directory(*state, "core.kept")), 0);
    record = record_of_appeared(in_directory(*state, "core.kept"));
    expect_ignored(&record, "core.%p", "doesn't call a core of pid");
    expect_ignored(&record, "core.%h", "doesn't call a core of pid");
    expect_ignored(&record, "|/usr/bin/keep", "core_pattern isn't a file's");
    expect_appeared(&record, "core.%e", false);
    end_family(&family);
}

/* What PID 1 keeps of a process that it looks at. */
static int copy_maps(pid_t pid)
{
    char path[32], text[16384];
    int to = memfd_create("maps", MFD_CLOEXEC);
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    do /* until it has executed the shell, whose loader is mapped behind the shell itself */
        n = read_text_at(AT_FDCWD, path, text, sizeof(text));
    while (n <= 0 || !strstr(text, "sh\n") || !strstr(text, "/ld-"));
    assert_int_equal(write_all(to, text, (size_t)n), 0);
    return to;
}

static void a_core_is_ours_where_pid_1_saw_its_process(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    _cleanup_close_ int maps = -1, elsewhere = -1;
    struct family family;

    need_cores_in_files();
    begin_family(*state, execute_and_crash, WEXITED, &family);
    maps = copy_maps(family.worker);
    elsewhere = make_maps(0x10000000, 0, "/bin/sh");
    let_worker_crash(&family, *state);
    record.witness_pid = family.worker;
    record.maps_fd = maps;
    expect_appeared(&record, "core", false);
    record.maps_fd = elsewhere;
    expect_appeared(&record, "core", true);
    record.maps_fd = maps;
    record.witness_pid++; /* another's */
    expect_appeared(&record, "core", true);

    /* It needs no parent then. */
    end_family(&family);
    expect_ignored(&record, "core", "no descendant of coreinit's");
    record.witness_pid = family.worker;
    expect_appeared(&record, "core", false);
}

static void a_core_of_the_programs_child_is_taken_though_the_program_has_ended(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    struct family family;

    need_cores_in_files();
    begin_family(*state, wait_and_crash, WEXITED, &family);
    let_worker_crash(&family, *state);
    end_family(&family);
    expect_ignored(&record, "core", "no descendant of coreinit's");
    record.pid = family.parent;
    expect_appeared(&record, "core", true);
}

static void a_core_of_a_process_that_is_not_ours_is_refused(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    struct elf_prpsinfo process = {.pr_pid = 1u << 30, .pr_ppid = getpid(), .pr_fname = "worker"};
    const char *path = record.appeared;

    put_core_of(path, &process, SIGSEGV);
    expect_ignored(&record, "core", "coreinit sees the end of its children itself");
    process.pr_ppid = getppid();
    put_core_of(path, &process, SIGSEGV);
    expect_ignored(&record, "core", "no descendant of coreinit's");
    process.pr_ppid = 0; /* a container's first process, and whoever enters one */
    put_core_of(path, &process, SIGSEGV);
    expect_ignored(&record, "core", "no descendant of coreinit's");
    process.pr_pid = getppid();
    put_core_of(path, &process, SIGSEGV);
    expect_ignored(&record, "core", "which lives here");
    /* A child of the program's, but nobody knows what it executed. */
    process.pr_pid = 1 << 30;
    process.pr_ppid = record.pid = 1 << 29;
    put_core_of(path, &process, SIGSEGV);
    expect_ignored(&record, "core", "it doesn't tell its executable");
}

static void a_core_of_an_executable_that_is_not_here_is_refused(void **state)
{
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    const char *program = in_directory(*state, "program");
    char command[PATH_MAX];
    struct family family;

    need_cores_in_files();
    snprintf(command, sizeof(command), "cp /bin/sh %s", program);
    assert_int_equal(system(command), 0);
    assert_int_equal(setenv("PROGRAM", program, 1), 0);
    begin_family(*state, execute_another_and_crash, WEXITED, &family);
    let_worker_crash(&family, *state);
    expect_appeared(&record, "core", true);
    assert_int_equal(unlink(program), 0);
    expect_ignored(&record, "core", "another container's");
    write_file(program, "another", 7);
    expect_ignored(&record, "core", "another container's");
    end_family(&family);
}

static void what_appeared_and_is_no_core_of_this_life_is_refused(void **state)
{
    struct elf_prpsinfo process = {.pr_pid = 1 << 30, .pr_ppid = 1 << 29};
    struct crash_record record = record_of_appeared(in_directory(*state, "core"));
    const char *path = record.appeared;

    record.pid = process.pr_ppid;
    write_file(path, "core\n", 5);
    expect_ignored(&record, "core", "it is not an ELF core");
    put_core_of(path, &process, SIGSEGV);
    assert_int_equal(link(path, in_directory(*state, "second")), 0);
    expect_ignored(&record, "core", "it has 2 links");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("second", path), 0);
    expect_ignored(&record, "core", "it is a symbolic link");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(in_directory(*state, "second"), path), 0);
    set_age(path, &(const struct timespec){.tv_sec = 86400}, 0);
    expect_ignored(&record, "core", "it is older than coreinit");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0666), 0);
    alarm(10); /* a fifo that is opened never returns */
    expect_ignored(&record, "core", "it is not a regular file");
    alarm(0);
    /* Nor is a link followed on the way. */
    assert_int_equal(symlink(".", in_directory(*state, "planted")), 0);
    record = record_of_appeared(in_directory(*state, "planted/core"));
    expect_ignored(&record, "core", "Not a directory");
}

/*
 * Looks for it as a container would, whose own root is an overlay. Returns as
 * kernel_core_find_appeared() does, 1 where it stays, -EPERM without privilege.
 */
static int find_appeared_below(const char *directory, const struct crash_record *record)
{
    char options[3 * PATH_MAX];
    int status;
    pid_t pid;

    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
             in_directory(directory, "lower"), in_directory(directory, "upper"),
             in_directory(directory, "scratch"));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct core_settings settings = settings_of("core");
        struct kernel_core *core = NULL;
        char why[512];
        int r;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("overlay", in_directory(directory, "root"), "overlay", 0, options) < 0 ||
            mount("/proc", in_directory(directory, "root/proc"), NULL, MS_BIND, NULL) < 0 ||
            mount(in_directory(directory, "volume"), in_directory(directory, "root/volume"), NULL,
                  MS_BIND, NULL) < 0 ||
            chroot(in_directory(directory, "root")) < 0)
            _exit(EPERM);
        r = kernel_core_find_appeared_by(record, &settings, getppid(), &core, why, sizeof(why));
        r = r < 0 ? -r : core->stays ? 255 : 0;
        kernel_core_free(core);
        _exit(r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 255 ? 1 : -WEXITSTATUS(status);
}

static void on_the_containers_own_root_every_core_is_ours(void **state)
{
    static const char *const folders[] = {
        "lower", "lower/proc", "lower/volume", "lower/own", "upper", "scratch", "root", "volume",
    };
    const struct elf_prpsinfo process = {.pr_pid = 1 << 30, .pr_ppid = 1 << 29};
    struct crash_record own = record_of_appeared("/own/core");
    struct crash_record shared = record_of_appeared("/volume/core");

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        assert_int_equal(mkdir(in_directory(*state, folders[i]), 0755), 0);
    put_core_of(in_directory(*state, "lower/own/core"), &process, SIGSEGV);
    put_core_of(in_directory(*state, "volume/core"), &process, SIGSEGV);
    if (find_appeared_below(*state, &own) == -EPERM) {
        print_message("skipped: no mounts without privilege\n");
        skip();
    }
    begin_log();
    assert_int_equal(find_appeared_below(*state, &own), 0);
    assert_int_equal(find_appeared_below(*state, &shared), -ENOENT);
    (void)end_log();
}

/* Reads a stream and holds every byte of it against the file. */
static void compare_stream(int fd, uint64_t size, uint64_t *ret_data)
{
    struct core_info info = {.file_size = size};
    const struct kernel_core core = {.fd = fd, .dir_fd = -1, .info = &info};
    _cleanup_core_source_ struct core_source *source = NULL;
    static char expected[1 << 20];
    struct core_run run;
    uint64_t at = 0;
    int r;

    *ret_data = 0;
    assert_int_equal(kernel_core_source(&core, &source), 0);
    assert_int_equal(source->size, size);
    while ((r = source->next(source, &run)) == 1) {
        assert_true(run.size > 0);
        if (run.data) {
            assert_true(run.size <= sizeof(expected));
            assert_int_equal(pread_full(fd, expected, run.size, at), run.size);
            assert_memory_equal(run.data, expected, run.size);
            *ret_data += run.size;
        }
        at += run.size;
    }
    assert_int_equal(r, 0);
    assert_int_equal(at, size);
}

static void a_stream_is_the_file_with_its_holes_told_apart(void **state)
{
    static char block[3 << 20];
    _cleanup_close_ int fd =
        open(in_directory(*state, "sparse"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const uint64_t size = 5ull << 30;
    uint64_t data;

    memset(block, 'x', sizeof(block));
    assert_true(fd >= 0);
    compare_stream(fd, 0, &data);

    /* A hole, 3 MiB, a hole of 4 GiB, a page, a hole up to the end. */
    assert_int_equal(pwrite(fd, block, sizeof(block), 1 << 20), sizeof(block));
    assert_int_equal(pwrite(fd, block, 4096, 4ull << 30), 4096);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    compare_stream(fd, size, &data);
    assert_int_equal(data, sizeof(block) + 4096);

    /* Data at both ends. */
    assert_int_equal(pwrite(fd, block, 1, 0), 1);
    assert_int_equal(pwrite(fd, block, 1, (off_t)size), 1);
    compare_stream(fd, size + 1, &data);
    assert_true(data < sizeof(block) + 4 * 4096);
}

static void a_file_that_shrinks_while_it_is_read_is_an_error(void **state)
{
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    struct core_info info = {.file_size = 3 << 20};
    const struct kernel_core core = {.fd = fd, .dir_fd = -1, .info = &info};
    _cleanup_core_source_ struct core_source *source = NULL;
    static char block[3 << 20];
    struct core_run run;
    int r;

    (void)state;
    assert_int_equal(write_all(fd, block, sizeof(block)), 0);
    assert_int_equal(kernel_core_source(&core, &source), 0);
    assert_int_equal(source->next(source, &run), 1);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    while ((r = source->next(source, &run)) == 1)
        ;
    assert_int_equal(r, -ENODATA);
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(the_kernels_own_core_is_found_where_the_process_was),
        CORE_TEST(the_kernels_own_settings_are_read),
        CORE_TEST(every_directory_of_the_record_is_looked_into),
        CORE_TEST(wildcards_find_what_cannot_be_known),
        CORE_TEST(a_name_is_found_however_odd_its_directory_is),
        CORE_TEST(a_stale_core_of_the_same_name_is_refused),
        CORE_TEST(the_coarse_clock_of_file_systems_is_allowed_for),
        CORE_TEST(cores_of_another_pid_or_signal_are_refused),
        CORE_TEST(a_symbolic_link_is_refused_anywhere_in_the_programs_directories),
        CORE_TEST(what_is_no_regular_file_is_refused_without_being_opened),
        CORE_TEST(a_file_with_a_second_name_is_refused),
        CORE_TEST(a_file_of_another_user_is_refused),
        CORE_TEST(what_is_no_core_is_refused),
        CORE_TEST(a_core_cut_before_its_notes_is_refused_and_is_the_reason),
        CORE_TEST(cores_of_others_beside_a_wildcard_are_passed_over_quietly),
        CORE_TEST(the_newest_of_several_is_taken),
        CORE_TEST(any_number_of_planted_files_costs_a_few_log_lines),
        CORE_TEST(a_shell_that_reports_its_childs_crash_has_its_childs_core_found),
        CORE_TEST(the_pid_of_the_process_s_own_namespace_counts),
        CORE_TEST(where_the_kernel_wrote_none_nothing_is_looked_at),
        CORE_TEST(a_core_that_the_limit_cut_is_one_that_the_kernel_wrote),
        CORE_TEST(a_core_of_another_name_is_refused),
        CORE_TEST(a_core_of_another_parent_is_refused_where_the_parent_is_certain),
        CORE_TEST(beneath_a_shell_only_a_core_of_its_descendants_is_taken),
        CORE_TEST(a_core_whose_program_lay_elsewhere_in_memory_is_refused),
        CORE_TEST(where_others_cores_lie_the_arguments_must_agree),
        CORE_TEST(removing_takes_the_very_file_and_no_other),
        CORE_TEST(a_core_that_appeared_is_ours_where_its_parent_forked_it_and_lives),
        CORE_TEST(a_core_whose_process_is_not_waited_for_stays),
        CORE_TEST(a_core_of_another_program_than_its_parents_stays),
        CORE_TEST(a_core_that_is_not_named_so_on_this_host_is_refused),
        CORE_TEST(a_core_is_ours_where_pid_1_saw_its_process),
        CORE_TEST(a_core_of_the_programs_child_is_taken_though_the_program_has_ended),
        CORE_TEST(a_core_of_a_process_that_is_not_ours_is_refused),
        CORE_TEST(a_core_of_an_executable_that_is_not_here_is_refused),
        CORE_TEST(what_appeared_and_is_no_core_of_this_life_is_refused),
        CORE_TEST(on_the_containers_own_root_every_core_is_ours),
        CORE_TEST(a_stream_is_the_file_with_its_holes_told_apart),
        cmocka_unit_test(a_file_that_shrinks_while_it_is_read_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
