#include "store/s3_headers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Signature Version 4 takes blanks around a value away and makes one of several: where there are
 * none such, the value is signed as it stands. */
static bool is_clean(const char *value)
{
    char before = ' ';

    for (; *value; before = *value++)
        if (*value < ' ' || *value > '~' || (*value == ' ' && before == ' '))
            return false;
    return before != ' ';
}

int s3_headers_add(struct s3_headers *headers, const char *name, const char *value)
{
    size_t place = headers->n;
    char *copy;

    if (!value || value[0] == '\0')
        return 0;
    if (!is_clean(value) || headers->n == S3_MAX_HEADERS)
        return -EINVAL;
    copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    for (; place > 0 && strcmp(headers->all[place - 1].name, name) > 0; place--)
        headers->all[place] = headers->all[place - 1];
    headers->all[place] = (struct s3_header){.name = name, .value = copy};
    headers->n++;
    return 0;
}

int s3_headers_append(struct s3_headers *headers, const struct s3_headers *more)
{
    for (size_t i = 0; i < more->n; i++) {
        int r = s3_headers_add(headers, more->all[i].name, more->all[i].value);

        if (r < 0)
            return r;
    }
    return 0;
}

void s3_headers_free(struct s3_headers *headers)
{
    for (size_t i = 0; i < headers->n; i++) {
        explicit_bzero(headers->all[i].value, strlen(headers->all[i].value));
        free(headers->all[i].value);
    }
    headers->n = 0;
}
