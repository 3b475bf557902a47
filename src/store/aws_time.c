#include "store/aws_time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DIGITS "0123456789"

/* Reads exactly @n digits. Returns what follows them, or NULL. */
static const char *digits(const char *text, size_t n, int *ret)
{
    if (!text || strspn(text, DIGITS) < n)
        return NULL;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret = *ret * 10 + (text[i] - '0');
    return text + n;
}

static const char *letter(const char *text, char wanted)
{
    return text && *text == wanted ? text + 1 : NULL;
}

/* Reads "Z" or an offset, to the text's end. */
static int parse_zone(const char *text, int *ret_seconds)
{
    const int sign = *text == '-' ? -1 : 1;
    int hours, minutes;

    *ret_seconds = 0;
    if (strcmp(text, "Z") == 0)
        return 0;
    if (*text != '+' && *text != '-')
        return -EINVAL;
    text = digits(text + 1, 2, &hours);
    if (text && *text == ':')
        text++;
    text = digits(text, 2, &minutes);
    if (!text || *text || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return 0;
}

int aws_time_parse(const char *text, int64_t *ret)
{
    struct tm time = {0};
    int offset;

    text = letter(digits(text, 4, &time.tm_year), '-');
    text = letter(digits(text, 2, &time.tm_mon), '-');
    text = letter(digits(text, 2, &time.tm_mday), 'T');
    text = letter(digits(text, 2, &time.tm_hour), ':');
    text = letter(digits(text, 2, &time.tm_min), ':');
    text = digits(text, 2, &time.tm_sec);
    if (!text || time.tm_year < 1970 || time.tm_mon < 1 || time.tm_mon > 12 || time.tm_mday < 1 ||
        time.tm_mday > 31 || time.tm_hour > 23 || time.tm_min > 59 || time.tm_sec > 60)
        return -EINVAL;
    if (*text == '.')
        text += 1 + strspn(text + 1, DIGITS);
    if (parse_zone(text, &offset) < 0)
        return -EINVAL;
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    *ret = (int64_t)timegm(&time) - offset;
    return 0;
}
