#include "util/template.h"

#include <stddef.h>

/* The size of the specifier that a template begins with, 0 where it begins with a character. */
static size_t specifier_size(const char *template)
{
    if (template[0] != '%' || template[1] == '%')
        return 0;
    return template[1] ? 2 : 1;
}

bool template_matches(const char *template, const char *text)
{
    /* Where to go on once the last specifier is made to stand for one character more. */
    const char *after_specifier = NULL, *next_text = NULL;
    size_t size;

    while (*text) {
        size = specifier_size(template);
        if (size > 0) {
            after_specifier = template += size;
            next_text = text;
        } else if (*template == *text) {
            template += *template == '%' ? 2 : 1;
            text++;
        } else if (after_specifier) {
            template = after_specifier;
            text = ++next_text;
        } else {
            return false;
        }
    }
    while ((size = specifier_size(template)) > 0)
        template += size;
    return !*template;
}
