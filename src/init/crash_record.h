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
#define CRASH_RECORD_VERSION 4u

/* What stays in the cores dir of a bundle, where there is a bucket too. */
enum keep_local {
    KEEP_ALWAYS,
    KEEP_UNTIL_SENT, /* all of it was sent and verified */
    KEEP_NEVER,      /* nothing, but what couldn't be sent, which is told */
};

#define KEEP_LOCAL_NAMES                                                                           \
    [KEEP_ALWAYS] = "always", [KEEP_UNTIL_SENT] = "until-sent", [KEEP_NEVER] = "never"

/* Settings that both programs must agree on; S3 credentials travel in the environment alone. */
struct crash_settings {
    char cores_dir[PATH_MAX]; /* "" for none: nothing is to stay on a disk of the container */
    char run_id[128];
    char config[PATH_MAX];    /* the ini file that was read, "" where none */
    char bucket[256];         /* "" where nothing is to be sent */
    char key_prefix[1025];    /* S3 keys are at most 1024 bytes */
    char region[64];          /* [s3] region of the ini file; the environment goes before it */
    char endpoint[1024];      /* [s3] endpoint of the ini file; the environment goes before it */
    uint32_t collect_timeout; /* seconds; 0 means none */
    uint32_t stop_timeout;    /* seconds from a stop signal to the runtime's SIGKILL; 0: no limit */
    uint32_t log_level;       /* enum log_level */

    uint32_t keep_local;  /* enum keep_local */
    uint64_t max_use;     /* bytes of all bundles in the cores dir; 0: no limit */
    uint64_t keep_free;   /* bytes of the cores dir's file system that are left free */
    uint32_t max_files;   /* artifacts in the cores dir; 0: no limit */
    uint64_t upload_rate; /* bytes a second; 0: no limit */

    /* Of what is sent; "" where nobody said. */
    char sse[16];                   /* x-amz-server-side-encryption */
    char sse_kms_key_id[2049];      /* with aws:kms and aws:kms:dsse */
    char storage_class[32];         /* x-amz-storage-class */
    char tags[2049];                /* x-amz-tagging: k=v&k2=v2, percent-encoded */
    char expected_bucket_owner[13]; /* x-amz-expected-bucket-owner: 12 digits */
    char request_payer[16];         /* x-amz-request-payer: "requester" */
    char checksum[16];              /* "auto", "crc64nvme", "crc32c", "crc32" or "md5" */
    bool allow_http;                /* also to a host that isn't a loopback one */
};

/*
 * Each setting that `coreinit --explain` tells, by its kind there: "KEY: VALUE", with the field's
 * name as the key. corectl reads them back.
 */
#define CRASH_TEXT_SETTINGS(DO)                                                                    \
    DO(TEXT, cores_dir)                                                                            \
    DO(TEXT, run_id)                                                                               \
    DO(TEXT, config)                                                                               \
    DO(TEXT, bucket)                                                                               \
    DO(TEXT, key_prefix)                                                                           \
    DO(TEXT, region)                                                                               \
    DO(TEXT, endpoint)                                                                             \
    DO(TEXT, sse)                                                                                  \
    DO(TEXT, sse_kms_key_id)                                                                       \
    DO(TEXT, storage_class)                                                                        \
    DO(TEXT, tags)                                                                                 \
    DO(TEXT, expected_bucket_owner)                                                                \
    DO(TEXT, request_payer)                                                                        \
    DO(TEXT, checksum)
#define CRASH_SETTINGS(DO)                                                                         \
    CRASH_TEXT_SETTINGS(DO)                                                                        \
    DO(YES_OR_NO, allow_http)                                                                      \
    DO(KEEP, keep_local)                                                                           \
    DO(SIZE, max_use)                                                                              \
    DO(SIZE, keep_free)                                                                            \
    DO(SIZE, upload_rate)                                                                          \
    DO(NUMBER, max_files)                                                                          \
    DO(NUMBER, collect_timeout)                                                                    \
    DO(NUMBER, stop_timeout)

/* The words: there is a core (and for a held process the kernel is to make none); there is none. */
#define CRASH_HAS_CORE '\0'
#define CRASH_HAS_NO_CORE '\1'

/* Most directories that a core may lie in, apart from the process's last one. */
#define CRASH_DIRECTORIES 8

/* The texts of the memory cgroup's events are some hundred bytes. */
#define CRASH_MEMORY_EVENTS 1024

/* The auxiliary vector has some twenty entries of 16 bytes. */
#define CRASH_AUXV 1024

struct crash_record {
    uint32_t magic;
    uint32_t version;
    uint32_t size; /* of the whole struct */

    /*
     * 1; 2 where the collector before was killed over the same crash, which it may have begun to
     * bundle: to be taken over, and with less memory. A held process may have been let go since.
     */
    uint32_t attempt;

    /*
     * The end, as waitid(2) reports it, or will report it of a process that is held. Apart from
     * crashes there are SIGKILL (or a shell's 128+SIGKILL) with a count in @memory_events that
     * rose, and with --report exits the program's other ends that went wrong.
     */
    int32_t wait_code;   /* CLD_KILLED, CLD_DUMPED or CLD_EXITED */
    int32_t wait_status; /* the signal, or the exit status (a shell's 128+N) */
    pid_t pid;           /* as coreinit sees it */
    bool is_program;     /* the program itself, not one of its descendants */
    struct timespec ended_realtime;
    struct timespec ended_boottime;
    uint32_t ordinal; /* 1, or more for a further crash of the same second */

    bool is_brief;          /* crash.json alone: no crash, or a crash loop, whose core isn't kept */
    bool is_report;         /* --report exits: crash.json also where it turns out to be no crash */
    uint32_t n_crashes;     /* of the program in the last hour, with this one; 0: not the program */
    uint32_t n_restarts;    /* of the program, by coreinit, before this end */
    bool was_asked_to_stop; /* the program was, before its end */

    /*
     * The memory cgroup's OOM counters, raw text: memory.events (version 2) or memory.oom_control
     * (version 1); "" where there is none. The first is of the program's start, or of a later
     * moment up to which every OOM kill has been told; the second of the end.
     */
    char memory_events[2][CRASH_MEMORY_EVENTS];

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
     * A pipe (inherited), -1 where there is none. One of the words below says that a held process
     * isn't needed any more, and is let go, to die; or that the kernel's core is open, or isn't to
     * be found: until then the program isn't started again, since its next core may take this
     * one's place. The collector's end says the same.
     */
    int32_t release_fd;

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
