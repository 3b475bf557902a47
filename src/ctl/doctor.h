#pragma once

/*
 * corectl doctor: what a crash would give here, found out before it happens. First all that can be
 * known is gathered (doctor_gather()); then each check explains one thing of it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bundle/container.h"
#include "capture/core_pattern.h"
#include "capture/crash_facts.h"
#include "ctl/explained.h"
#include "ctl/target.h"
#include "init/crash_record.h"
#include "store/s3_probe.h"
#include "store/spool_place.h"

/* Whom the answers are about. */
enum doctor_subject {
    SUBJECT_PROGRAM,    /* a process that runs below a coreinit, or is traced by one */
    SUBJECT_OWN_PLACE,  /* corectl itself, which coreinit runs where the program will run */
    SUBJECT_PREDICTION, /* a program that a coreinit would run, were it started as corectl was */
    SUBJECT_STRANGER,   /* a process without coreinit, or none at all */
};

/* What would come of a crash, as far as coreinit and the kernel are concerned. */
struct prospect {
    bool is_bundled; /* coreinit would hear of it, and has a collector */
    bool has_core;
    char mode[16];      /* "kernel", "ptrace", "off" or "none" */
    char why[768];      /* that mode */
    char no_core[1024]; /* why there would be none, and what to do */
};

struct doctor {
    enum doctor_subject subject;
    struct target target;      /* pid 0: a prediction, or nobody is there */
    struct explained coreinit; /* with an error where there is none */
    char lacks[256];           /* what of coreinit's place corectl couldn't take on */
    bool is_idle;              /* a coreinit runs, but has no process now */

    /* Of the process, or of corectl where it stands for one. */
    struct crash_record record;
    struct crash_facts facts;
    struct core_settings settings;
    int dumpable;             /* process_dumpable() */
    uint64_t size;            /* bytes of a core at most, about; 0: not known */
    uint64_t executable_size; /* of that process; 0: not known */
    bool is_32_bit;

    struct container container;
    bool is_container;
    struct spool_place place;
    struct s3_probe probe; /* where there is a bucket */
    struct prospect prospect;
    bool is_delivered;
};

/*
 * Finds the process and its coreinit, takes that one's place (stand_in_for()), and looks at
 * everything.
 *
 * @pid, @name  as target_find()
 * @words       coreinit's options and program, NULL-terminated, for a prediction; NULL: none asked
 * for
 *
 * Returns 0, or -errno where what was asked for can't be found (logged).
 */
int doctor_gather(pid_t pid, const char *name, char *const *words, struct doctor *ret);

enum check_state { CHECK_OK, CHECK_WARNING, CHECK_FAIL, CHECK_SKIPPED };

/* What one check found: sentences for people. */
struct finding {
    const char *check; /* its name */
    enum check_state state;
    char finding[2048];                    /* what is */
    char meaning[512];                     /* for a crash */
    const char *docker, *ecs, *kubernetes; /* the mend where it isn't ok; NULL: there is none */
};

/* State and finding. */
void finding_is(struct finding *ret, enum check_state state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void finding_means(struct finding *ret, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void finding_mend(struct finding *ret, const char *docker, const char *ecs, const char *kubernetes);

/* The mend where the kernel gives no core: what lets coreinit trace the program. */
void mend_by_tracing(const struct doctor *doctor, struct finding *ret);

typedef void doctor_check(const struct doctor *doctor, struct finding *ret);

/* doctor_capture.c: who captures it */
doctor_check check_coreinit, check_capture;

/* doctor_kernel.c: what the kernel allows */
doctor_check check_core_pattern, check_core_limits, check_dumpable, check_capabilities,
    check_seccomp, check_yama;

/* doctor_room.c: what a bundle needs */
doctor_check check_cores_dir, check_space, check_gdb, check_memory;

/* doctor_s3.c: where it goes */
doctor_check check_credentials, check_bucket, check_clock;

/* s3_probe(), by a thread that gives up its privileges before it uses the network. */
void doctor_probe(const struct s3_settings *settings, const char *name, struct s3_probe *ret);

/* Whether a crash would give a core that ends in a lasting place. */
bool doctor_is_well(const struct doctor *doctor);

/* Whether the program that is asked about isn't there to be started. */
bool doctor_lacks_program(const struct doctor *doctor);

/* Whether what is in the cores dir outlives the container; outside of one everything does. */
bool doctor_place_lasts(const struct doctor *doctor);

/* Whether the cores dir has room for the core, as far as that can be foreseen. */
bool doctor_has_room(const struct doctor *doctor);

/* "s3://bucket/prefix", or the cores dir. */
const char *doctor_destination(const struct doctor *doctor);

/* "12 MiB" */
const char *size_text(uint64_t bytes, char *ret, size_t size);

/* Prints all findings and the verdict to standard output. Returns 0 or -errno. */
int doctor_print_text(const struct doctor *doctor, const struct finding *findings, size_t n);
int doctor_print_json(const struct doctor *doctor, const struct finding *findings, size_t n);

/*
 * Crashes a child below a coreinit of its own, with the settings that were gathered, and prints
 * what came of it.
 *
 * Returns 0 where core and stack are there and delivered, else -errno.
 */
int doctor_crash_test(const struct doctor *doctor, bool as_json);

/* The child's part: it doesn't return. */
void crashes_for_the_doctor(void) __attribute__((noreturn));
