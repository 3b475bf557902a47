#pragma once

/* What coreinit says that it would do: the answers of `coreinit --explain`. */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "init/crash_record.h"

struct explained {
    char error[512]; /* why there are no answers, "" where there are */

    char version[32];
    char program[256];
    char program_path[PATH_MAX]; /* "" where there is no such program */
    char on_crash[16];           /* "exit", "restart" or "linger" */
    char capture_asked[16];      /* "auto", "kernel", "ptrace" or "off" */
    char capture[16];            /* what that comes to */
    char why[256];
    char mend[256];          /* where no core is expected */
    char not_traced[256];    /* where tracing was wanted: why it can't be */
    char not_traceable[256]; /* why a child can't be traced here, "" where it can */
    bool core_expected;
    bool has_corectl;
    char corectl[PATH_MAX];

    struct crash_settings settings; /* but for the log level, which is the asker's */
};

/*
 * Where coreinit's executable is.
 *
 * @pid  a coreinit that runs; 0: the one beside this executable
 */
void explained_executable(pid_t pid, char *ret, size_t size);

/*
 * What a coreinit that runs was started with, without its own name: NULL-terminated, to be freed.
 * NULL where that can't be read.
 */
char **explained_arguments(pid_t coreinit);

/*
 * Asks it, in this process's environment, working directory and user.
 *
 * @arguments  coreinit's, NULL-terminated, without its own name
 * @ret        with @error where that fails
 */
void explained_ask(const char *executable, char *const *arguments, struct explained *ret);

/*
 * Asks the one beside this executable about what a coreinit that runs was told.
 *
 * @coreinit  its pid; 0: none runs, and the environment and the ini file say all
 * @program   a program's name, where no coreinit tells its own
 */
void explained_here(pid_t coreinit, const char *program, struct explained *ret);
