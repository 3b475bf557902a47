#include "init/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/identity.h"
#include "trace/tracee.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/pid_reader.h"

/* Of one look. Those seen may be strangers, where the pid namespace is the host's. */
#define MAX_PROCESSES_SEEN 4096
#define MAX_PROCESSES_LOOKED_AT 256

/* Looks after which a descendant that is gone, and of which nobody has spoken, is forgotten. */
#define LOOKS_REMEMBERED 3

#define MAX_GENERATIONS 32
#define MAX_MAPS_BYTES (4u << 20)

#define FIRST_INTERVAL_MS 5
#define LAST_INTERVAL_MS 2000

/* Mappings are dear to read (a line each), and roots seldom change: at every look at first, then at
 * every 16th. */
#define EAGER_LOOKS 10
#define MAPS_EVERY 16

void witness_init(struct witnesses *all)
{
    for (size_t i = 0; i < WITNESSES; i++)
        all->of[i].exe_fd = all->of[i].root_fd = all->of[i].maps_fd = -1;
    if (!getcwd(all->start_cwd, sizeof(all->start_cwd)))
        all->start_cwd[0] = '\0';
}

static void release(struct witness *witness)
{
    close_fd(witness->exe_fd);
    close_fd(witness->root_fd);
    close_fd(witness->maps_fd);
    witness->exe_fd = witness->root_fd = witness->maps_fd = -1;
    witness->exe_inode = 0;
    witness->pid = 0;
}

/* The slot of a pid, else a free one, else that of whoever was seen longest ago; never the
 * program's. */
static struct witness *slot_for(struct witnesses *all, pid_t pid)
{
    struct witness *oldest = &all->of[1];

    for (size_t i = 1; i < WITNESSES; i++)
        if (all->of[i].pid == pid)
            return &all->of[i];
    for (size_t i = 1; i < WITNESSES; i++) {
        if (!all->of[i].pid)
            return &all->of[i];
        if (all->of[i].last_look < oldest->last_look)
            oldest = &all->of[i];
    }
    release(oldest);
    return oldest;
}

/* readlink(2) with a NUL; false where there is no telling, with @ret as it was. */
static bool read_link(int dir_fd, const char *name, char *ret, size_t size)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(dir_fd, name, text, sizeof(text));

    if (n <= 0 || (size_t)n >= size)
        return false;
    memcpy(ret, text, (size_t)n);
    ret[n] = '\0';
    return true;
}

/*
 * Keeps hold of the running file, which may be deleted or replaced before the process dies. Nothing
 * here asks the file system's server, which may hang (FUSE, NFS): not for the attributes, and not
 * for an open file; the collector opens it.
 *
 * Returns whether it is another file than at the last look.
 */
static bool look_at_exe(struct witness *witness, int proc_fd)
{
    struct statx file;

    if (statx(proc_fd, "exe", AT_STATX_DONT_SYNC, STATX_INO, &file) < 0 ||
        (file.stx_dev_major == witness->exe_major && file.stx_dev_minor == witness->exe_minor &&
         file.stx_ino == witness->exe_inode))
        return false;
    close_fd(witness->exe_fd);
    witness->exe_fd = openat(proc_fd, "exe", O_PATH | O_CLOEXEC);
    witness->exe_major = file.stx_dev_major;
    witness->exe_minor = file.stx_dev_minor;
    witness->exe_inode = file.stx_ino;
    return true;
}

static void look_at_root(struct witness *witness, int proc_fd)
{
    close_fd(witness->root_fd);
    witness->root_fd = openat(proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void look_at_maps(struct witness *witness, int proc_fd)
{
    _cleanup_close_ int fd = openat(proc_fd, "maps", O_RDONLY | O_CLOEXEC);
    char text[4096];
    uint64_t at = 0;
    ssize_t n;

    if (fd < 0)
        return;
    if (witness->maps_fd < 0)
        witness->maps_fd = memfd_create("maps", MFD_CLOEXEC);
    if (witness->maps_fd < 0)
        return;
    while (at < MAX_MAPS_BYTES && (n = read(fd, text, sizeof(text))) > 0) {
        if (pwrite(witness->maps_fd, text, (size_t)n, (off_t)at) != n)
            break;
        at += (uint64_t)n;
    }
    /* An empty text means that the process ended meanwhile: what is there still holds. */
    if (at > 0 && ftruncate(witness->maps_fd, (off_t)at) < 0)
        return;
}

static int open_proc(pid_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d", pid);
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void look_as_it(struct witnesses *all, struct witness *witness, pid_t pid, pid_t tid)
{
    _cleanup_close_ int proc_fd = open_proc(tid);
    char path[32];
    bool is_new;
    ssize_t n;

    /* A kernel thread or a zombie has no executable. */
    if (proc_fd < 0 || !read_link(proc_fd, "exe", witness->exe, sizeof(witness->exe)))
        return;
    if (witness->pid != pid) {
        witness->cwd[0] = '\0';
        witness->cmdline_size = 0;
    }
    witness->pid = pid;
    witness->last_look = all->looks;
    is_new = look_at_exe(witness, proc_fd);
    read_text_at(proc_fd, "stat", witness->stat, sizeof(witness->stat));
    read_link(proc_fd, "cwd", witness->cwd, sizeof(witness->cwd));
    if (all->watch) {
        snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
        core_watch_add(all->watch, path);
    }
    n = read_text_at(proc_fd, "cmdline", witness->cmdline, sizeof(witness->cmdline));
    if (n > 0)
        witness->cmdline_size = (uint32_t)n;
    if (is_new || all->looks - all->start < EAGER_LOOKS || all->looks % MAPS_EVERY == 0) {
        look_at_root(witness, proc_fd);
        look_at_maps(witness, proc_fd);
    }
}

static void look_at(struct witnesses *all, struct witness *witness, pid_t pid, pid_t tid)
{
    identity_be_like(tid);
    look_as_it(all, witness, pid, tid);
    identity_be_oneself();
}

static bool is_descendant(pid_t pid, pid_t self)
{
    for (int generation = 0; pid > 1 && generation < MAX_GENERATIONS; generation++) {
        pid = tracee_parent(pid);
        if (pid == self)
            return true;
    }
    return false;
}

void witness_look_at_program(struct witnesses *all, pid_t program, char *const *argv)
{
    struct witness *witness = &all->of[0];

    /* Should it be gone before the first look: what it was started with. */
    release(witness);
    witness->exe[0] = witness->stat[0] = '\0';
    witness->cmdline_size = 0;
    witness->pid = program;
    all->start = all->looks;
    strcpy(witness->cwd, all->start_cwd);
    for (; *argv; argv++) {
        size_t room = sizeof(witness->cmdline) - witness->cmdline_size;
        size_t size = strnlen(*argv, room - 1) + 1;

        if (room < 2)
            break;
        memcpy(witness->cmdline + witness->cmdline_size, *argv, size - 1);
        witness->cmdline[witness->cmdline_size + size - 1] = '\0';
        witness->cmdline_size += (uint32_t)size;
    }
    look_at(all, witness, program, program);
}

void witness_begin(struct witnesses *all, pid_t program)
{
    release(&all->of[0]);
    all->start_cwd[0] = '\0'; /* coreinit's own, and no other container's */
    all->of[0].cwd[0] = all->of[0].exe[0] = all->of[0].stat[0] = '\0';
    all->of[0].cmdline_size = 0;
    all->of[0].pid = program;
    look_at(all, &all->of[0], program, program);
}

void witness_end(struct witnesses *all)
{
    release(&all->of[0]);
}

void witness_look_at_process(struct witnesses *all, pid_t pid, pid_t tid)
{
    look_at(all, pid == all->of[0].pid ? &all->of[0] : slot_for(all, pid), pid, tid);
}

static bool is_gone(pid_t pid)
{
    _cleanup_close_ int proc_fd = open_proc(pid);
    char exe[PATH_MAX];

    return proc_fd < 0 || !read_link(proc_fd, "exe", exe, sizeof(exe));
}

/* An executable that is held keeps its file system from being unmounted. */
static void forget_the_gone(struct witnesses *all)
{
    for (size_t i = 1; i < WITNESSES; i++) {
        struct witness *witness = &all->of[i];

        if (witness->pid && witness->last_look + LOOKS_REMEMBERED < all->looks &&
            is_gone(witness->pid))
            release(witness);
    }
}

void witness_look(struct witnesses *all, pid_t program)
{
    struct pid_reader processes;
    pid_t self = getpid(), pid;
    int seen = 0, looked = 0;

    all->looks++;
    forget_the_gone(all);
    look_at(all, &all->of[0], program, program);
    if (pid_reader_open(&processes, "/proc") == 0)
        while (seen < MAX_PROCESSES_SEEN && looked < MAX_PROCESSES_LOOKED_AT &&
               (pid = pid_reader_next(&processes))) {
            if (pid == 1 || pid == self || pid == program)
                continue;
            seen++;
            if (!is_descendant(pid, self))
                continue;
            looked++;
            look_at(all, slot_for(all, pid), pid, pid);
        }
    pid_reader_close(&processes);
}

int witness_interval(const struct witnesses *all)
{
    int interval = FIRST_INTERVAL_MS;

    for (uint64_t i = all->start; i < all->looks && interval < LAST_INTERVAL_MS; i++)
        interval *= 2;
    return interval < LAST_INTERVAL_MS ? interval : LAST_INTERVAL_MS;
}

static struct witness *find(struct witnesses *all, pid_t pid, bool of_child)
{
    struct witness *latest = NULL;

    for (size_t i = 0; i < WITNESSES; i++) {
        struct witness *witness = &all->of[i];

        if (!of_child && witness->pid == pid)
            return witness;
        if (of_child && witness->pid && witness->pid != pid && is_gone(witness->pid) &&
            (!latest || witness->last_look >= latest->last_look))
            latest = witness;
    }
    return latest;
}

/* Adds a directory unless it is there already or there is no room. */
static void add_directory(struct crash_record *record, const char *path)
{
    for (size_t i = 0; path[0] && i < CRASH_DIRECTORIES; i++) {
        if (strcmp(record->directories[i], path) == 0)
            return;
        if (!record->directories[i][0]) {
            strcpy(record->directories[i], path);
            return;
        }
    }
}

void witness_testify(struct witnesses *all, pid_t pid, bool of_child, struct crash_record *record)
{
    struct witness *witness = find(all, pid, of_child);

    record->exe_fd = record->root_fd = record->maps_fd = -1;
    if (witness) {
        record->witness_pid = witness->pid;
        strcpy(record->witness_stat, witness->stat);
        strcpy(record->cwd, witness->cwd);
        strcpy(record->exe, witness->exe);
        memcpy(record->cmdline, witness->cmdline, sizeof(record->cmdline));
        record->cmdline_size = witness->cmdline_size;
        record->exe_fd = take_fd(&witness->exe_fd);
        record->root_fd = take_fd(&witness->root_fd);
        record->maps_fd = take_fd(&witness->maps_fd);
        release(witness);
    }
    add_directory(record, all->start_cwd);
    for (size_t i = 0; i < WITNESSES; i++)
        if (all->of[i].pid)
            add_directory(record, all->of[i].cwd);
}
