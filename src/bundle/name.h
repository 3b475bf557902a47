#pragma once

/* Names of artifacts: <base>_<date>_<hostname>_<RUN_ID><suffix>, a contract with others' scripts.
 */

#include <stddef.h>
#include <time.h>

/* In order of worth; crash.json is written twice, early and last. */
enum artifact_kind {
    ARTIFACT_STACKTRACE,
    ARTIFACT_CORE,
    ARTIFACT_EXECUTABLE,
    ARTIFACT_LIBS,
    ARTIFACT_CRASH_JSON,
    ARTIFACT_KINDS,
};

/* ".stacktrace", ".core.zip", ".executable", ".libs.zip", ".crash.json" */
extern const char *const artifact_suffixes[ARTIFACT_KINDS];

/*
 * Makes a bundle's id, the part of its artifacts' names before the suffix: one path component of
 * valid UTF-8, so that it is a file name, an S3 key and a JSON text.
 *
 * @key_prefix  S3_KEY_PREFIX; its last non-empty path part is the base ("issue" where there is
 * none), cut where it is too long for a file name: a crash must not be lost to a long prefix
 * @when        realtime of the crash, shown as UTC %FT%H%M%S
 * @hostname, @run_id  "unknown" where empty
 * @ordinal     1, or 2 and up for a further crash of the same second (-2, -3, …)
 *
 * In base, hostname and run_id '/', control characters and bytes that are no UTF-8 become '_'.
 *
 * Returns 0 or -ENAMETOOLONG: file names are at most 255 bytes, suffix and ".part" included, and
 * hostname and run_id alone pass that; or the id doesn't fit @size.
 */
int bundle_id(const char *key_prefix, time_t when, const char *hostname, const char *run_id,
              unsigned ordinal, char *ret, size_t size);
