#pragma once

/*
 * How far a transfer is, for whoever waits for it. On a terminal: a line that is drawn again and
 * again, at most ten times a second, and taken away at the end. Elsewhere: a log line now and then.
 */

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, it tells nothing. */
struct progress {
    enum { PROGRESS_SILENT, PROGRESS_LINES, PROGRESS_BAR } manner;
    const char *name;
    uint64_t size, done;
    double rate;       /* bytes a second of late, 0 while there is no telling */
    uint64_t measured; /* @done when the rate was measured, and when that was */
    int64_t measured_ns, told_ns;
};

/* Finds out what stderr is: a bar for a terminal that can move its cursor, else lines. */
void progress_init(struct progress *progress);

/*
 * Begins to tell of @size bytes. Lines that are logged meanwhile take the bar's place.
 *
 * @name  must live until progress_end()
 */
void progress_begin(struct progress *progress, const char *name, uint64_t size);

/* So many more of them are there. */
void progress_add(struct progress *progress, uint64_t bytes);

/* Gives the terminal's line back. */
void progress_end(struct progress *progress);
