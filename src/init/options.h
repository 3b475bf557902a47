#pragma once

/* What coreinit was asked to do: command line over environment over ini file over default. */

#include <stdbool.h>
#include <stdint.h>

#include "init/crash_record.h"

enum capture_choice {
    CAPTURE_AUTO,
    CAPTURE_KERNEL,
    CAPTURE_PTRACE,
    CAPTURE_OFF,
};

/* What coreinit does once the program has crashed. */
enum on_crash {
    ON_CRASH_EXIT,    /* it ends too, after the collection */
    ON_CRASH_RESTART, /* it starts the program again */
    ON_CRASH_LINGER,  /* it keeps the container up, to be looked into */
};

/* In an hour: with its pauses the program isn't restarted more often anyway. */
#define MOST_RESTARTS 100

struct options {
    char **program; /* argv of the program, NULL-terminated; points into main's argv */

    /* tini's */
    bool kill_group;         /* -g, TINI_KILL_PROCESS_GROUP: signals go to the program's group */
    bool warn_on_reap;       /* -w */
    int parent_death_signal; /* -p: 0 for none */
    bool is_expected[256];   /* -e: exit statuses that count as 0 */

    bool quiet;    /* --quiet, or called by another init's name: no banner */
    bool explains; /* --explain: start nothing, and say what would be done */
    enum capture_choice capture;
    enum on_crash on_crash;
    uint32_t restart_limit;  /* restarts in an hour; 0: no limit */
    uint32_t linger_minutes; /* 0: until it is stopped */
    bool reports_exits;      /* --report exits: also ends of the program that are no crash */
    char attach_name[64]; /* --attach-name: of a process to wait for and to attach to; "": none */
    uint32_t attach_pid;  /* --attach-pid; 0: none */
    struct crash_settings settings;
};

/* "auto", "kernel", … */
const char *options_capture_name(enum capture_choice choice);

/* "exit", "restart" or "linger". */
const char *options_on_crash_name(enum on_crash choice);

/*
 * Reads the command line, the environment and the ini file, and sets the log level.
 *
 * @ret_exit  what to exit with where there is nothing to run: 0 after --help, --version and -l, 1
 * after misuse, which was told in one line and a usage line
 *
 * Returns true if there is a program to run. All of @ret points into static memory, argv or itself.
 */
bool options_read(int argc, char **argv, struct options *ret, int *ret_exit);
