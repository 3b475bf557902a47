/* Texts of other programs and of the kernel: gdb's output, core_pattern. */

#include <string.h>
#include <sys/stat.h>

#include "capture/core_pattern.h"
#include "capture/gdb.h"
#include "util/cleanup.h"
#include "util/template.h"

#include "fuzz.h"

/* What gdb_clean() says when it cuts a text is the only thing that it adds. */
#define MOST_ADDED 1024

static void parse_gdb_text(const char *data, size_t size)
{
    _cleanup_close_ int in_fd = fuzz_file(data, size), out_fd = fuzz_file("", 0);
    struct stat out;

    fuzz_expect(gdb_clean(in_fd, out_fd) >= 0);
    fuzz_expect(fstat(out_fd, &out) == 0 && (size_t)out.st_size <= size + MOST_ADDED);
}

/* The pattern, then the names that a process chooses itself; none of these makes a directory. */
static void expand_core_pattern(const char *data, size_t size)
{
    struct fuzz_texts texts = {data, size};
    struct core_pattern_subject who = CORE_PATTERN_SUBJECT_UNKNOWN;
    char pattern[256], hostname[65], comm[17], exe[512], path[4096];

    fuzz_text(&texts, pattern, sizeof(pattern));
    who.hostname = fuzz_text(&texts, hostname, sizeof(hostname));
    who.comm = fuzz_text(&texts, comm, sizeof(comm));
    who.exe = fuzz_text(&texts, exe, sizeof(exe));
    who.core_limit = "18446744073709551615";
    who.pid = 42;
    for (int uses_pid = 0; uses_pid < 2; uses_pid++) {
        ssize_t slashes = 0;

        if (core_pattern_expand(pattern, uses_pid, &who, path, sizeof(path)) < 0)
            continue;
        for (const char *at = path; *at; at++)
            slashes += *at == '/';
        for (const char *at = pattern; *at; at++)
            slashes -= *at == '/';
        fuzz_expect(slashes <= 0); /* an unknown "%/" is dropped */
    }
}

static void match_template(const char *data, size_t size)
{
    struct fuzz_texts texts = {data, size};
    char template[1024], text[1024];

    fuzz_text(&texts, template, sizeof(template));
    fuzz_text(&texts, text, sizeof(text));
    (void)template_matches(template, text);
    fuzz_expect(strchr(template, '%') || template_matches(template, template));
}

static fuzz_parser *const parsers[] = {parse_gdb_text, expand_core_pattern, match_template};
FUZZ_TARGET(parsers)
