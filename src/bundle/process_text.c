#include "bundle/process_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/proc_text.h"

void process_comm(const char *stat, char *ret, size_t size)
{
    /* The name may hold parentheses itself; what follows it doesn't. */
    const char *start = strchr(stat, '('), *end = strrchr(stat, ')');

    ret[0] = '\0';
    if (start && end && end > start)
        snprintf(ret, size, "%.*s", (int)(end - start - 1), start + 1);
}

int64_t process_real_id(const char *status, const char *line)
{
    const char *text = proc_line(status, line);
    long long id;

    return text && sscanf(text, "%lld", &id) == 1 ? id : -1;
}

static bool read_limit(const char *text, uint64_t *ret)
{
    char *end;

    *ret = PROCESS_UNLIMITED;
    if (strcmp(text, "unlimited") == 0)
        return true;
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}

bool process_limit(const char *limits, const char *name, uint64_t *ret_soft, uint64_t *ret_hard)
{
    const char *text = proc_line(limits, name);
    char soft[24], hard[24], after[2];

    /* Something behind the second number shows that it wasn't cut. */
    return text && sscanf(text, "%23s %23s%1[ \n]", soft, hard, after) == 3 &&
           read_limit(soft, ret_soft) && read_limit(hard, ret_hard);
}
