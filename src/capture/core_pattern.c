#include "capture/core_pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "util/io.h"

enum value_kind {
    NUMBER,    /* int64_t, -1 where unknown */
    TEXT,      /* char *, stands as it is */
    NAME,      /* char *, chosen by the process: kept from being a path */
    FILE_NAME, /* likewise, after the last '/' */
};

static const struct specifier {
    char letter;
    enum value_kind kind;
    size_t offset; /* of the value in struct core_pattern_subject */
} specifiers[] = {
    {'p', NUMBER, offsetof(struct core_pattern_subject, pid)},
    {'P', NUMBER, offsetof(struct core_pattern_subject, initial_pid)},
    {'i', NUMBER, offsetof(struct core_pattern_subject, tid)},
    {'I', NUMBER, offsetof(struct core_pattern_subject, initial_tid)},
    {'u', NUMBER, offsetof(struct core_pattern_subject, uid)},
    {'g', NUMBER, offsetof(struct core_pattern_subject, gid)},
    {'d', NUMBER, offsetof(struct core_pattern_subject, dumpable)},
    {'s', NUMBER, offsetof(struct core_pattern_subject, signo)},
    {'t', NUMBER, offsetof(struct core_pattern_subject, time)},
    {'C', NUMBER, offsetof(struct core_pattern_subject, cpu)},
    {'c', TEXT, offsetof(struct core_pattern_subject, core_limit)},
    {'h', NAME, offsetof(struct core_pattern_subject, hostname)},
    {'e', NAME, offsetof(struct core_pattern_subject, comm)},
    {'E', NAME, offsetof(struct core_pattern_subject, exe)},
    {'f', FILE_NAME, offsetof(struct core_pattern_subject, exe)},
};

/* The text being written; what doesn't fit is dropped and remembered. */
struct output {
    char *text;
    size_t used, size;
    bool overflowed;
};

static void put_raw(struct output *output, char c)
{
    if (output->used + 1 < output->size)
        output->text[output->used++] = c;
    else
        output->overflowed = true;
}

static void put_literal(struct output *output, char c)
{
    if (strchr("*?[\\", c))
        put_raw(output, '\\');
    put_raw(output, c);
}

static void put_text(struct output *output, const char *text)
{
    while (*text)
        put_literal(output, *text++);
}

static void put_number(struct output *output, int64_t number)
{
    char digits[24];

    if (number < 0) {
        put_raw(output, '*');
        return;
    }
    snprintf(digits, sizeof(digits), "%" PRId64, number);
    put_text(output, digits);
}

static void put_name(struct output *output, const char *name)
{
    if (!name[0] || !strcmp(name, ".") || !strcmp(name, "..")) {
        put_raw(output, '!');
        name += name[0] == '.';
    }
    for (; *name; name++)
        put_literal(output, *name == '/' ? '!' : *name);
}

static const char *after_last_slash(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void put_value(struct output *output, const struct specifier *specifier,
                      const struct core_pattern_subject *who)
{
    const void *value = (const char *)who + specifier->offset;
    const char *text;

    if (specifier->kind == NUMBER) {
        put_number(output, *(const int64_t *)value);
        return;
    }
    text = *(const char *const *)value;
    if (!text)
        put_raw(output, '*');
    else if (specifier->kind == TEXT)
        put_text(output, text);
    else
        put_name(output, specifier->kind == FILE_NAME ? after_last_slash(text) : text);
}

static const struct specifier *find_specifier(char letter)
{
    for (size_t i = 0; i < sizeof(specifiers) / sizeof(specifiers[0]); i++)
        if (specifiers[i].letter == letter)
            return &specifiers[i];
    return NULL;
}

static int read_number(const char *path)
{
    char text[16];

    return read_text_at(AT_FDCWD, path, text, sizeof(text)) < 0 ? 0 : atoi(text);
}

int core_settings_read(struct core_settings *ret)
{
    ssize_t n =
        read_text_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", ret->pattern, sizeof(ret->pattern));

    if (n < 0)
        return (int)n;
    ret->uses_pid = read_number("/proc/sys/kernel/core_uses_pid") != 0;
    ret->suid_dumpable = read_number("/proc/sys/fs/suid_dumpable");
    return 0;
}

enum core_pattern_kind core_pattern_kind(const char *pattern, bool uses_pid)
{
    if (pattern[0] == '|')
        return CORE_PATTERN_PIPE;
    if (pattern[0] == '@')
        return CORE_PATTERN_SOCKET;
    if (pattern[0] == '\0' && !uses_pid)
        return CORE_PATTERN_EMPTY;
    return CORE_PATTERN_FILE;
}

int core_pattern_expand(const char *pattern, bool uses_pid, const struct core_pattern_subject *who,
                        char *ret, size_t size)
{
    struct output output = {.text = ret, .size = size};
    bool has_pid = false;

    switch (core_pattern_kind(pattern, uses_pid)) {
    case CORE_PATTERN_PIPE:
    case CORE_PATTERN_SOCKET:
        return -ENOTSUP;
    case CORE_PATTERN_EMPTY:
        return -EOPNOTSUPP;
    case CORE_PATTERN_FILE:
        break;
    }

    for (const char *at = pattern; *at; at++) {
        const struct specifier *specifier;

        if (*at != '%') {
            put_literal(&output, *at);
            continue;
        }
        if (*++at == '\0')
            break;
        if (*at == '%')
            put_literal(&output, '%');
        /* Only %p counts for core_uses_pid: neither %P nor %i does. */
        has_pid = has_pid || *at == 'p';
        specifier = find_specifier(*at);
        if (specifier)
            put_value(&output, specifier, who);
    }
    if (uses_pid && !has_pid) {
        put_raw(&output, '.');
        put_number(&output, who->pid);
    }

    if (output.overflowed)
        return -ENAMETOOLONG;
    output.text[output.used] = '\0';
    return output.used == 0 ? -EOPNOTSUPP : 0;
}
