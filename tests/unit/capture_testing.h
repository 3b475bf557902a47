#pragma once

/*
 * For the tests of capture/: processes that really crash and leave the kernel's core, the record
 * that PID 1 would make of them, and cores made by hand for what no kernel writes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture/core_pattern.h"
#include "init/crash_record.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define UNUSED __attribute__((unused))
#define NOINLINE __attribute__((noinline, unused))

/* A directory for one test; a test's setup and teardown. */

UNUSED static int enter_directory(void **state)
{
    char *path = strdup("/tmp/capture-test-XXXXXX");

    if (!path || !mkdtemp(path) || chmod(path, 0755) < 0)
        return -1;
    *state = path;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

UNUSED static int leave_directory(void **state)
{
    int r = nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return r;
}

/* "DIR/NAME", valid until the next but three. */
UNUSED static const char *in_directory(const char *directory, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    assert_true(snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX);
    return path;
}

UNUSED static void write_file(const char *path, const void *data, size_t size)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, data, size), 0);
}

/* What a step logs, for looking into; standard error is a file meanwhile. */

static int log_file = -1, saved_stderr = -1;

UNUSED static void begin_log(void)
{
    log_file = memfd_create("log", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(log_file >= 0 && saved_stderr >= 0);
    assert_true(dup2(log_file, STDERR_FILENO) >= 0);
}

/* Ends it. Returns the text, owned by this header. */
UNUSED static const char *end_log(void)
{
    static char text[64 * 1024];
    ssize_t n;

    dup2(saved_stderr, STDERR_FILENO);
    n = pread_full(log_file, text, sizeof(text) - 1, 0);
    close(saved_stderr);
    close(log_file);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

/* What is asked of the kernel: that it writes cores to files in the working directory. */
UNUSED static void need_cores_in_files(void)
{
    struct core_settings settings;

    if (core_settings_read(&settings) == 0 && !strchr(settings.pattern, '/') &&
        core_pattern_kind(settings.pattern, settings.uses_pid) == CORE_PATTERN_FILE)
        return;
    print_message("skipped: kernel.core_pattern '%s' is no plain file name\n", settings.pattern);
    skip();
}

/* Whatever the kernel calls cores here, the tests call theirs "core". */
UNUSED static void call_it_core(const char *directory)
{
    const struct core_pattern_subject unknown = CORE_PATTERN_SUBJECT_UNKNOWN;
    struct core_settings settings;
    const struct dirent *entry;
    char pattern[1024];
    DIR *stream;

    if (core_settings_read(&settings) < 0 ||
        core_pattern_expand(settings.pattern, settings.uses_pid, &unknown, pattern,
                            sizeof(pattern)) < 0)
        return;
    stream = opendir(directory);
    assert_non_null(stream);
    while (strcmp(pattern, "core") != 0 && (entry = readdir(stream)))
        if (entry->d_name[0] != '.' && fnmatch(pattern, entry->d_name, 0) == 0)
            assert_int_equal(renameat(dirfd(stream), entry->d_name, dirfd(stream), "core"), 0);
    closedir(stream);
}

/* The last words of a process, as PID 1 copies them before it reaps. */

static void read_proc(pid_t pid, const char *name, char *ret, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    assert_true(read_text_at(AT_FDCWD, path, ret, size) >= 0);
}

/* Waits for a child and makes its record. */
UNUSED static void record_end(pid_t pid, const char *cwd, struct crash_record *ret)
{
    siginfo_t end;

    memset(ret, 0, sizeof(*ret));
    assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT), 0);
    ret->magic = CRASH_RECORD_MAGIC;
    ret->version = CRASH_RECORD_VERSION;
    ret->size = sizeof(*ret);
    ret->wait_code = end.si_code;
    ret->wait_status = end.si_status;
    ret->pid = ret->witness_pid = pid;
    ret->is_program = true;
    ret->exe_fd = ret->maps_fd = -1;
    snprintf(ret->cwd, sizeof(ret->cwd), "%s", cwd);
    clock_gettime(CLOCK_REALTIME, &ret->ended_realtime);
    clock_gettime(CLOCK_BOOTTIME, &ret->ended_boottime);
    read_proc(pid, "stat", ret->stat, sizeof(ret->stat));
    read_proc(pid, "status", ret->status, sizeof(ret->status));
    read_proc(pid, "limits", ret->limits, sizeof(ret->limits));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* In a child: nothing of the test framework is in the signal's way. */
static void prepare_to_crash(const char *cwd, rlim_t limit)
{
    const struct rlimit core = {limit, RLIM_INFINITY};
    const struct rlimit lower = {limit, limit};

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    if (chdir(cwd) < 0 || (setrlimit(RLIMIT_CORE, &core) < 0 && setrlimit(RLIMIT_CORE, &lower) < 0))
        _exit(98);
}

/* Runs a function that crashes, in a child whose working directory is @cwd. */
NOINLINE static void crash_in(const char *cwd, rlim_t limit, void (*crash)(void),
                              struct crash_record *ret)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prepare_to_crash(cwd, limit);
        crash();
        _exit(97);
    }
    record_end(pid, cwd, ret);
    call_it_core(cwd);
}

__attribute__((no_sanitize("address"), no_sanitize("undefined"))) NOINLINE static void
write_to_null(void)
{
    volatile int *volatile nowhere = NULL;

    *nowhere = 42;
}

UNUSED static void abort_at_once(void)
{
    abort();
}

/* A core made by hand: ELF header, program headers, notes, memory. */

struct made_note {
    const char *name;
    uint32_t type;
    const void *desc;
    uint32_t size;
};

#if defined(__x86_64__)
#define MADE_MACHINE EM_X86_64
#else
#define MADE_MACHINE EM_AARCH64
#endif

UNUSED static Elf64_Ehdr made_header(uint16_t n_segments)
{
    return (Elf64_Ehdr){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = MADE_MACHINE,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = n_segments,
    };
}

/* Writes the notes at an offset of a file. Returns their size. */
UNUSED static uint64_t put_notes(int fd, uint64_t offset, const struct made_note *notes,
                                 size_t n_notes)
{
    uint64_t at = offset;

    for (size_t i = 0; i < n_notes; i++) {
        const Elf64_Nhdr header = {
            .n_namesz = (uint32_t)strlen(notes[i].name) + 1,
            .n_descsz = notes[i].size,
            .n_type = notes[i].type,
        };

        assert_int_equal(pwrite(fd, &header, sizeof(header), (off_t)at), sizeof(header));
        at += sizeof(header);
        assert_int_equal(pwrite(fd, notes[i].name, header.n_namesz, (off_t)at), header.n_namesz);
        at += (header.n_namesz + 3u) & ~3u;
        assert_int_equal(pwrite(fd, notes[i].desc, header.n_descsz, (off_t)at), header.n_descsz);
        at += (header.n_descsz + 3u) & ~3u;
    }
    /* The last one's padding too. */
    assert_int_equal(ftruncate(fd, (off_t)at), 0);
    return at - offset;
}

/* A core with notes and no memory, as a memfd. */
UNUSED static int make_core(const struct made_note *notes, size_t n_notes)
{
    const Elf64_Ehdr header = made_header(1);
    Elf64_Phdr segment = {.p_type = PT_NOTE, .p_offset = sizeof(header) + sizeof(segment)};
    int fd = memfd_create("core", MFD_CLOEXEC);

    assert_true(fd >= 0);
    segment.p_filesz = put_notes(fd, segment.p_offset, notes, n_notes);
    assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
    assert_int_equal(pwrite(fd, &segment, sizeof(segment), sizeof(header)), sizeof(segment));
    return fd;
}

/* A child of the test's, which has its name. */
UNUSED static struct elf_prpsinfo made_process(pid_t pid)
{
    struct elf_prpsinfo process = {.pr_pid = pid, .pr_ppid = getpid()};

    assert_int_equal(prctl(PR_GET_NAME, process.pr_fname), 0);
    return process;
}

/* The notes that every core has, of one process and signal. */
UNUSED static int make_core_of(const struct elf_prpsinfo *process, int signo)
{
    const struct elf_prstatus status = {.pr_pid = process->pr_pid, .pr_cursig = (short)signo};
    const struct made_note notes[] = {
        {"CORE", NT_PRSTATUS, &status, sizeof(status)},
        {"CORE", NT_PRPSINFO, process, sizeof(*process)},
    };

    return make_core(notes, 2);
}
