#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long a line waits for a reader of stderr before it is dropped. */
#define STALL_MS 500

enum log_level log_max_level = LEVEL_NOTICE;
const char *log_before_line = "";

static const char *const level_names[] = {
    [LEVEL_ERROR] = "error", [LEVEL_WARNING] = "warning", [LEVEL_NOTICE] = "notice",
    [LEVEL_INFO] = "info",   [LEVEL_DEBUG] = "debug",
};

/* What a terminal may obey: C0, DEL, and the two bytes that UTF-8 has for one of C1. */
static void replace_controls(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];
        const unsigned char next = i + 1 < size ? (unsigned char)text[i + 1] : 0;

        if (c == 0xc2 && next >= 0x80 && next < 0xa0)
            text[i] = text[i + 1] = '?';
        else if (c < ' ' || c == 0x7f)
            text[i] = '?';
    }
}

/* One buffer, one write: lines of coreinit, corectl and the program never mix within a line. */
static void write_line(enum log_level level, int error, const char *format, va_list arguments)
{
    static atomic_bool is_stalled; /* corectl has threads */
    char line[2048];
    const size_t room = sizeof(line) - 1; /* the newline's place */
    const size_t before = (size_t)snprintf(line, room, "%s", log_before_line);
    size_t used = before;
    int saved = errno;

    used += (size_t)snprintf(line + used, room - used, "coreinit: %s: ", level_names[level]);
    int n = vsnprintf(line + used, room - used, format, arguments);
    if (n > 0)
        used += (size_t)n < room - used ? (size_t)n : room - used - 1;
    if (error) {
        /* strerror() may allocate and translate; this one is a table. */
        const char *meaning = strerrordesc_np(error);

        n = snprintf(line + used, room - used, ": %s", meaning ? meaning : "unknown error");
        if (n > 0)
            used += (size_t)n < room - used ? (size_t)n : room - used - 1;
    }
    replace_controls(line + before, used - before);
    line[used++] = '\n';

    /*
     * A log driver that stalls must not stall PID 1: a pipe is writable while PIPE_BUF bytes fit,
     * and a line is less. It is waited for once, and not again until it takes something. A closed
     * stderr changes nothing either.
     */
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    is_stalled = poll(&out, 1, is_stalled ? 0 : STALL_MS) == 0;
    if (!is_stalled) {
        ssize_t ignored = write(STDERR_FILENO, line, used);
        (void)ignored;
    }
    errno = saved;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list arguments;

    if (level > log_max_level)
        return;
    va_start(arguments, format);
    write_line(level, 0, format, arguments);
    va_end(arguments);
}

int log_errno(int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_line(LEVEL_ERROR, abs(error), format, arguments);
    va_end(arguments);
    return -abs(error);
}
