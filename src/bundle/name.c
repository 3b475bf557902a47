#include "bundle/name.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bundle/utf8.h"

const char *const artifact_suffixes[ARTIFACT_KINDS] = {
    [ARTIFACT_STACKTRACE] = ".stacktrace", [ARTIFACT_CORE] = ".core.zip",
    [ARTIFACT_EXECUTABLE] = ".executable", [ARTIFACT_LIBS] = ".libs.zip",
    [ARTIFACT_CRASH_JSON] = ".crash.json",
};

/* What the longest suffix and the spool's ".part" leave of a file name. */
#define MAX_ID_SIZE (NAME_MAX - (sizeof(".crash.json.part") - 1))

#define DEFAULT_BASE "issue"

/* Whole characters only, so that a name that is cut stays valid UTF-8. */
static size_t cut_text(const char *text, size_t size, size_t limit)
{
    size_t used = 0, length;

    while (used < size) {
        length = utf8_character(text + used, size - used);
        length = length ? length : 1;
        if (used + length > limit)
            break;
        used += length;
    }
    return used;
}

/* Copies a text with everything replaced that a name can't have. Its length stays. */
static void clean_text(const char *text, size_t size, char *ret)
{
    for (size_t at = 0, length; at < size; at += length) {
        const unsigned char first = (unsigned char)text[at];

        length = utf8_character(text + at, size - at);
        if (length == 0 || first < ' ' || first == 0x7f || first == '/') {
            length = 1;
            ret[at] = '_';
        } else {
            memcpy(ret + at, text + at, length);
        }
    }
    ret[size] = '\0';
}

/* The last path part that has a character in it. */
static const char *find_base(const char *key_prefix, size_t *ret_size)
{
    size_t end = strlen(key_prefix), start;

    while (end > 0 && key_prefix[end - 1] == '/')
        end--;
    for (start = end; start > 0 && key_prefix[start - 1] != '/'; start--)
        continue;
    *ret_size = end > 0 ? end - start : strlen(DEFAULT_BASE);
    return end > 0 ? key_prefix + start : DEFAULT_BASE;
}

int bundle_id(const char *key_prefix, time_t when, const char *hostname, const char *run_id,
              unsigned ordinal, char *ret, size_t size)
{
    char base[MAX_ID_SIZE + 1], host[MAX_ID_SIZE + 1], run[MAX_ID_SIZE + 1];
    char date[64], again[16] = "";
    size_t base_size, rest, room = size - 1 < MAX_ID_SIZE ? size - 1 : MAX_ID_SIZE;
    const char *base_text = find_base(key_prefix, &base_size);
    struct tm tm;

    hostname = hostname[0] ? hostname : "unknown";
    run_id = run_id[0] ? run_id : "unknown";
    if (!gmtime_r(&when, &tm) || strftime(date, sizeof(date), "%FT%H%M%S", &tm) == 0)
        return -EOVERFLOW;
    if (ordinal > 1)
        snprintf(again, sizeof(again), "-%u", ordinal);

    rest = strlen(date) + strlen(hostname) + strlen(run_id) + strlen(again) + strlen("___");
    if (rest >= room)
        return -ENAMETOOLONG;
    clean_text(base_text, cut_text(base_text, base_size, room - rest), base);
    clean_text(hostname, strlen(hostname), host);
    clean_text(run_id, strlen(run_id), run);
    snprintf(ret, size, "%s_%s_%s_%s%s", base, date, host, run, again);
    return 0;
}
