#pragma once

/*
 * Log lines for a tired operator: `coreinit: level: sentence`, one event a line, each one write(2)
 * to stderr. Nothing here allocates, so PID 1 may log at any time.
 */

enum log_level {
    LEVEL_ERROR,   /* something was lost or cannot be done */
    LEVEL_WARNING, /* something is not as it should be, and how to mend it */
    LEVEL_NOTICE, /* what an operator wants to know of a healthy run: the banner, a bundle's fate */
    LEVEL_INFO,   /* -v */
    LEVEL_DEBUG,  /* -vv */
};

/* Lines above this level are dropped. */
extern enum log_level log_max_level;

/* What every line begins with: "", or what clears the line of a terminal that something is drawn
 * on. */
extern const char *log_before_line;

/*
 * Writes one line. The text is cut at 2 KiB; control characters in it (a program's name or a
 * server's message may carry them) are shown as '?', so that one event is one line.
 */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Logs an error with the meaning of @error (a positive or negative errno value) behind it, and
 * returns -|error|, so that failing is one line: `return log_errno(r, "cannot open %s", path);`
 */
int log_errno(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LEVEL_DEBUG, __VA_ARGS__)
