#pragma once

/* The kernel's own core file: finding it, distrusting it, and saying why there is none. */

#include "capture/core_info.h"
#include "capture/core_pattern.h"
#include "capture/core_source.h"
#include "init/crash_record.h"

struct kernel_core {
    int fd;          /* the core, read-only */
    int dir_fd;      /* the directory it lies in, for unlinkat(2) */
    char name[256];  /* in that directory */
    char path[4096]; /* for people */
    struct core_info *info;
    bool stays; /* someone else may want it: it isn't to be removed (kernel_core_find_appeared()) */
};

/*
 * Finds the core file that the kernel wrote for the recorded process.
 *
 * core_pattern is expanded and looked for in every directory the record knows. Of several the
 * newest is taken. Where wait(2) says that the kernel wrote one, and it is in none of those
 * directories, every file system is looked through for 10 seconds. Where it says that the kernel
 * wrote none, nothing is looked at.
 *
 * A file is trusted only if it is regular, has one link, is reached without a symbolic link (those
 * in the literal directory of an absolute core_pattern, which is root's word, excepted), belongs to
 * the process's user (or root, as fs.suid_dumpable=2 has it), is no older than the process, and is
 * an ELF core of that pid and signal.
 *
 * In a directory that containers share pids repeat, so it must also be of the process's name, of
 * its parent where that is certain (the program's own is coreinit), and have the executable where
 * the record's maps have it, if they do. Where the process that crashed is a child of the recorded
 * one (a shell that reports 128+N), its core must instead be that of a child of the shell's, of the
 * record's witness or of a child of that. In directories that the record doesn't know the arguments
 * must agree too.
 *
 * One that is refused is logged with the reason; where a wildcard found it and it is merely another
 * process's, at level info.
 *
 * @why  where none is found: one sentence that names the cause (limit, pattern, directory, size)
 * and the mend
 *
 * Returns 0 with @ret to be freed with kernel_core_free(), -ENOENT with @why, or -errno.
 */
int kernel_core_find(const struct crash_record *record, struct kernel_core **ret, char *why,
                     size_t why_size);

/* The same with the kernel's settings given. */
int kernel_core_find_by(const struct crash_record *record, const struct core_settings *settings,
                        struct kernel_core **ret, char *why, size_t why_size);

/*
 * Opens the core that PID 1 saw appear, record->appeared, of a process that it doesn't reap.
 *
 * It is trusted only if it is a regular file with one link, reached without a symbolic link, no
 * older than coreinit, an ELF core, and named as core_pattern names one of that pid and signal on
 * this host. The process must be gone, and must not have been a child of coreinit's: the crash of
 * those has a record of its own.
 *
 * Where containers share a directory inotify(7) tells each of them of all cores, their pids repeat,
 * and those of a pod have one hostname; but nobody else's core may be removed. One is this
 * container's for certain where
 * - it lies on the container's own root file system (an overlay is mounted for one alone), or
 * - the process was forked by one that lives beneath coreinit, and never called execve(2): both
 *   have the kernel's vdso(7) at the same random address, or
 * - PID 1 saw the process, with its executable at the same random address (the record's witness).
 * Otherwise the executable must be here, with the same build-id, and the parent must live beneath
 * coreinit, or be the program, which may have ended (record->pid). With that alone the core is
 * bundled, for a crash had better be bundled twice than not at all, but stays where it is (@stays).
 *
 * So does that of a process which its parent hasn't waited for: coreinit may have to.
 *
 * @why  where it isn't taken: what is wrong with it
 *
 * Returns 0 with @ret to be freed with kernel_core_free(), -ENOENT with @why, or -ENOMEM.
 */
int kernel_core_find_appeared(const struct crash_record *record, struct kernel_core **ret,
                              char *why, size_t why_size);

/* The same with the kernel's settings and coreinit's pid (the collector's parent's) given. */
int kernel_core_find_appeared_by(const struct crash_record *record,
                                 const struct core_settings *settings, pid_t coreinit,
                                 struct kernel_core **ret, char *why, size_t why_size);

/*
 * Opens the core that an earlier collector had found for a crash, and noted in its bundle's journal
 * before it was killed. It is the same one if it is a regular file with one link, reached without a
 * symbolic link as its last part, an ELF core, and was not written to since.
 *
 * @when  of the crash, CLOCK_REALTIME
 *
 * Returns 0 with @ret to be freed with kernel_core_free(), -ENOENT, -ESTALE (it is another one by
 * now) or -errno of opening and reading it.
 */
int kernel_core_open_noted(const char *path, const struct timespec *when, struct kernel_core **ret);

/* What a file that isn't taken is instead, from the error of opening or reading it. */
const char *kernel_core_refusal(int error);

/*
 * Opens a stream over the core from its beginning, holes told apart by SEEK_DATA (lseek(2)). The
 * core must outlive it. Returns 0 or -ENOMEM.
 */
int kernel_core_source(const struct kernel_core *core, struct core_source **ret);

/*
 * Removes the file once its bytes are safe elsewhere, if the name still means the same file.
 * Returns 0, -ESTALE (the name is another file's by now) or -errno.
 */
int kernel_core_remove(struct kernel_core *core);

void kernel_core_free(struct kernel_core *core);

static inline void cleanup_kernel_core(struct kernel_core **core)
{
    kernel_core_free(*core);
}
#define _cleanup_kernel_core_ __attribute__((cleanup(cleanup_kernel_core)))
