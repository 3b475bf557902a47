#pragma once

/*
 * A journal's text (journal.h): a line a note.
 *
 *     coreinit journal 1
 *     destination s3://bucket/prefix
 *     crash 4711 1795253425.123456789 12.345678901     pid, realtime, boottime
 *     core-stays                                       it may be another crash's as well
 *     core /cores/core.4711                            the kernel's own file
 *     upload .core.zip 2~abc                           of a multipart upload that was begun
 *     unverified .core.zip                             its object could not be compared
 *     sent .core.zip 12345 0123…                       size and SHA-256 of the object
 *     anew .stacktrace                                 it was replaced: what was sent is old
 *     sent-all
 *
 * Of each kind the last line counts. Texts are percent-encoded: what isn't a visible ASCII
 * character, and '%'. A last line without its end is the rest of a write that was cut short; what
 * isn't understood is passed over, since a later version may have written it.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "bundle/name.h"

#define JOURNAL_HEADER "coreinit journal 1\n"

/* The longest text, a path of three bytes a character, and what is before it. */
#define JOURNAL_LINE (3 * PATH_MAX + 64)

/* Which crash it was: of one machine's processes no two of a pid end at the same nanosecond. */
struct journal_crash {
    pid_t pid; /* 0: not noted */
    struct timespec realtime, boottime;
};

struct journal_artifact {
    char upload_id[1025]; /* "": none was begun */
    bool is_sent;
    bool is_unverified; /* s3_is_verified() said no */
    uint64_t size;      /* as it was sent, likewise the next */
    char sha256[65];    /* lower-case hex */
};

/* What a journal says. */
struct journal_notes {
    char destination[1400]; /* "": none */
    struct journal_crash crash;
    char core[PATH_MAX]; /* "": none */
    bool core_stays;     /* it isn't to be removed */
    struct journal_artifact artifacts[ARTIFACT_KINDS];
    bool is_sent; /* all of it, crash.json too */
};

/*
 * Reads a journal's text, which may be anyone's.
 *
 * Returns the number of bytes up to the end of the last whole line, or -EBADMSG where the first
 * line isn't a journal's. No text, or the beginning of a first line, is an empty journal.
 */
ssize_t journal_parse(const char *text, size_t size, struct journal_notes *ret);

/* Takes one line, without its end, into @notes. What isn't understood changes nothing. */
void journal_apply(const char *line, struct journal_notes *notes);

/* Whether nothing that was sent is noted as unverified: what was sent may go. */
bool journal_is_verified(const struct journal_notes *notes);

/* Encodes a text for a line. Returns 0, or -EINVAL where it is empty or doesn't fit @size. */
int journal_encode(const char *text, char *ret, size_t size);

/* Whether a text is 64 lower-case hex digits. */
bool journal_is_sha256(const char *text);
