#pragma once

/*
 * What PID 1 hands to the collector about one crash: fixed size, in a memfd, whose number follows
 * `corectl collect --record-fd`. PID 1 only copies what will be gone once the process is reaped;
 * everything that needs understanding is understood by the collector.
 *
 * Both programs come from one build, and the version is checked all the same: COREINIT_CORECTL may
 * point at another build's corectl.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define CRASH_RECORD_MAGIC 0x65726f63u /* "core" */
#define CRASH_RECORD_VERSION 3u

/* Settings that both programs must agree on; S3 credentials travel in the environment alone. */
struct crash_settings {
    char cores_dir[PATH_MAX];
    char run_id[128];
    char config[PATH_MAX];    /* the ini file that was read, "" where none */
    char bucket[256];         /* "" where nothing is to be sent */
    char key_prefix[1025];    /* S3 keys are at most 1024 bytes */
    char region[64];          /* [s3] region of the ini file; the environment goes before it */
    char endpoint[1024];      /* [s3] endpoint of the ini file; the environment goes before it */
    uint32_t collect_timeout; /* seconds; 0 means none */
    uint32_t log_level;       /* enum log_level */
};

/* Most directories that a core may lie in, apart from the process's last one. */
#define CRASH_DIRECTORIES 8

/* The auxiliary vector has some twenty entries of 16 bytes. */
#define CRASH_AUXV 1024

struct crash_record {
    uint32_t magic;
    uint32_t version;
    uint32_t size; /* of the whole struct */

    /* The end, as waitid(2) reports it, or will report it of a process that is held. */
    int32_t wait_code;   /* CLD_KILLED, CLD_DUMPED or CLD_EXITED */
    int32_t wait_status; /* the signal, or the exit status (a shell's 128+N) */
    pid_t pid;           /* as coreinit sees it */
    bool is_program;     /* the program itself, not one of its descendants */
    struct timespec ended_realtime;
    struct timespec ended_boottime;
    uint32_t ordinal; /* 1, or more for a further crash of the same second */

    /*
     * What procfs told of a process while it lived, the latest look. Empty where it couldn't be
     * read. The process is @pid, or where that is a shell that reported 128+N, the descendant of
     * its that was last seen among those that are gone (0 where there was none).
     */
    pid_t witness_pid;
    char witness_stat[1024]; /* its /proc/PID/stat then: an execve or a reused pid since shows */
    char cwd[PATH_MAX];
    char exe[PATH_MAX]; /* readlink of /proc/PID/exe: may end in " (deleted)" */
    char cmdline[8192]; /* NUL-separated, as in /proc/PID/cmdline, cut at this size */
    uint32_t cmdline_size;
    int32_t exe_fd;  /* the executable, opened while it ran (inherited), or -1 */
    int32_t root_fd; /* its root directory (O_PATH, inherited), or -1 */
    int32_t maps_fd; /* memfd with the text of /proc/PID/maps (inherited), or -1 */

    /*
     * Where the process isn't dead but held at its fatal signal, every thread of it stopped
     * (ptrace(2)): what its core is made of. The descriptors are inherited, -1 where there are
     * none; those of procfs were opened while that was allowed, and serve a program that became
     * undumpable since.
     */
    bool is_held;
    pid_t crash_tid;    /* as coreinit sees it */
    int32_t mem_fd;     /* /proc/PID/mem */
    int32_t smaps_fd;   /* /proc/PID/smaps */
    int32_t pagemap_fd; /* /proc/PID/pagemap */
    int32_t threads_fd; /* memfd: struct thread_note after struct thread_note (thread_note.h) */
    int32_t
        release_fd; /* a pipe: once it is closed the process is let go, to die; a byte that was
                       written before says that there is a core, so that the kernel makes none */
    char auxv[CRASH_AUXV];
    uint32_t auxv_size; /* bytes */

    /*
     * A core file that appeared although no process that coreinit waits for has died, and which
     * core_pattern explains: a worker's that its own parent reaps. "" otherwise; then nothing is
     * known of the end, @pid is the program's, of which it descends, and the witness is that
     * descendant which was last seen among those that are gone.
     */
    char appeared[PATH_MAX];

    /* What procfs tells of it at its end, a zombie by then or held; raw text. */
    char stat[1024];   /* /proc/PID/stat */
    char status[4096]; /* /proc/PID/status */
    char limits[2048]; /* /proc/PID/limits */

    /* Working directories that were seen: the start's, and those of descendants. */
    char directories[CRASH_DIRECTORIES][PATH_MAX];

    /* How coreinit was going to capture it. */
    char capture_mode[16]; /* "kernel", "ptrace" or "off" */
    char capture_why[256]; /* the banner's words */

    struct crash_settings settings;
};
