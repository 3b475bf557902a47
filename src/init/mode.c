#include "init/mode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init/gains.h"
#include "init/limits.h"
#include "init/privilege.h"
#include "init/tracer.h"
#include "util/io.h"

/* Smaller than the headers of any core: the kernel writes nothing useful below it. */
#define SMALLEST_LIMIT 4096

__attribute__((format(printf, 3, 4))) static void no_core(struct capture_mode *mode,
                                                          const char *mend, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(mode->why, sizeof(mode->why), format, arguments);
    va_end(arguments);
    snprintf(mode->mend, sizeof(mode->mend), "%s", mend);
}

/*
 * The directory that a pattern's file goes to, as far as it is known before the crash: up to the
 * last slash before the first specifier.
 */
static void directory_of(const char *pattern, char *ret, size_t size)
{
    size_t literal = strcspn(pattern, "%");
    const char *slash = memrchr(pattern, '/', literal);

    if (!slash)
        snprintf(ret, size, ".");
    else if (slash == pattern)
        snprintf(ret, size, "/");
    else
        snprintf(ret, size, "%.*s", (int)(slash - pattern), pattern);
}

static void decide_kernel(const struct rlimit *core, struct capture_mode *mode)
{
    static const char set_pattern[] =
        "set kernel.core_pattern to a file on the host, e.g. /cores/core.%e.%h.%P";
    char pattern[256], directory[PATH_MAX], limit[32], uses_pid[8];

    if (read_text_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", pattern, sizeof(pattern)) < 0) {
        no_core(mode, "mount /proc into the container", "core_pattern cannot be read");
        return;
    }
    if (read_text_at(AT_FDCWD, "/proc/sys/kernel/core_uses_pid", uses_pid, sizeof(uses_pid)) < 0)
        uses_pid[0] = '0';

    if (pattern[0] == '|') {
        no_core(mode, set_pattern, "the host's core_pattern pipes cores to '%.120s'", pattern + 1);
    } else if (pattern[0] == '@') {
        no_core(mode, set_pattern, "the host's core_pattern sends cores to a socket, '%.120s'",
                pattern + 1);
    } else if (!pattern[0] && uses_pid[0] == '0') {
        no_core(mode, set_pattern, "the host's core_pattern is empty, which turns cores off");
    } else if (core->rlim_cur < SMALLEST_LIMIT) {
        no_core(mode, "docker run --ulimit core=-1, or ulimits in the task definition",
                "the hard core limit is %s", limits_text(core->rlim_max, limit, sizeof(limit)));
    } else {
        directory_of(pattern, directory, sizeof(directory));
        if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0) {
            int error = errno;

            if (strcmp(directory, ".") == 0 && !getcwd(directory, sizeof(directory)))
                strcpy(directory, "the working directory");
            no_core(mode,
                    pattern[0] == '/'
                        ? "make or mount it in the container, writable for the program"
                        : "start the program in a writable directory (docker run -w)",
                    "core_pattern '%.80s' points at %.80s, where nothing can be written (%s)",
                    pattern, directory, strerrordesc_np(error));
            return;
        }
        mode->is_core_expected = true;
        snprintf(mode->why, sizeof(mode->why), "core_pattern '%.80s' is a file%s, core limit %s",
                 pattern, pattern[0] == '/' ? "" : " in the working directory",
                 limits_text(core->rlim_cur, limit, sizeof(limit)));
    }
}

/* Returns whether the program can be traced; where not, the mode says why. */
static bool can_trace(const char *program, struct capture_mode *mode)
{
    if (tracer_probe(mode->not_traced, sizeof(mode->not_traced)) < 0)
        return false;
    if (!privilege_has(CAP_SYS_PTRACE) && program_gains_privileges(program)) {
        snprintf(mode->not_traced, sizeof(mode->not_traced),
                 "%.120s is set-uid or has file capabilities, which it would not get while traced "
                 "without CAP_SYS_PTRACE",
                 program);
        return false;
    }
    return true;
}

void mode_decide(enum capture_choice choice, const struct rlimit *core, const char *program,
                 struct capture_mode *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (choice == CAPTURE_OFF) {
        strcpy(ret->name, "off");
        strcpy(ret->why, "as asked");
        return;
    }
    ret->is_on = true;
    strcpy(ret->name, "kernel");
    decide_kernel(core, ret);
    if (choice == CAPTURE_KERNEL || (choice == CAPTURE_AUTO && ret->is_core_expected) ||
        !can_trace(program, ret))
        return;
    ret->is_traced = ret->is_core_expected = true;
    strcpy(ret->name, "ptrace");
    if (choice == CAPTURE_PTRACE)
        strcpy(ret->why, "as asked");
    ret->mend[0] = '\0';
}
