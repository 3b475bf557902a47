#include "util/proc_stat.h"

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
