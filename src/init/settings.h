#pragma once

/* Every setting of coreinit's own: its three names, its default, and the values it takes. */

#include <stddef.h>

#include "init/options.h"

#define DEFAULT_CONFIG "/etc/coreinit.ini"

struct setting {
    const char *option, *environment, *section, *key; /* NULL where it has no such name */
    const char *initial;                              /* "" leaves the zeros */
    /* Returns 0, -EINVAL, or -ENAMETOOLONG. */
    int (*parse)(const struct setting *setting, void *field, const char *value);
    size_t offset, size;        /* of the field in struct options */
    const char *wrong;          /* what -EINVAL means: "is none of auto, kernel, ptrace, off" */
    const char *const *choices; /* where it is one of some words: NULL-terminated */
    uint64_t most;              /* where it is a number */
};

#define SETTINGS 29
extern const struct setting settings[SETTINGS];

/*
 * Parses a value and stores it.
 *
 * Returns NULL, or what is wrong with it, a clause that follows the value: "is too long".
 */
const char *setting_set(const struct setting *setting, struct options *options, const char *value);
