#include "util/proc_text.h"

#include <stddef.h>
#include <string.h>

const char *proc_stat_field(const char *stat, unsigned field)
{
    const char *at = strrchr(stat, ')');

    for (unsigned i = 2; at && i < field; i++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at && *at ? at : NULL;
}

const char *proc_line(const char *text, const char *name)
{
    size_t size = strlen(name);

    while (text && strncmp(text, name, size) != 0) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text ? text + size : NULL;
}
