#include "bundle/json_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/utf8.h"
#include "util/cleanup.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

json_t *json_text(const char *text, size_t size)
{
    size_t length = strnlen(text, size), used = 0;
    _cleanup_free_ char *valid = malloc(length * strlen(REPLACEMENT) + 1);

    if (!valid)
        return NULL;
    for (size_t at = 0; at < length;) {
        size_t bytes = utf8_character(text + at, length - at);

        if (bytes > 0) {
            memcpy(valid + used, text + at, bytes);
            used += bytes;
            at += bytes;
        } else {
            memcpy(valid + used, REPLACEMENT, strlen(REPLACEMENT));
            used += strlen(REPLACEMENT);
            at++;
        }
    }
    return json_stringn_nocheck(valid, used);
}

json_t *json_known_text(const char *text, size_t size)
{
    return text && size > 0 && text[0] ? json_text(text, size) : json_null();
}

json_t *json_known_integer(bool known, int64_t value)
{
    return known ? json_integer(value) : json_null();
}

json_t *json_size(uint64_t size)
{
    return json_integer(size < INT64_MAX ? (json_int_t)size : INT64_MAX);
}

json_t *json_hex(uint64_t value)
{
    char text[2 + 16 + 1];

    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string_nocheck(text);
}

json_t *json_object_of(const struct json_field *fields)
{
    json_t *object = json_object();
    bool whole = object != NULL;

    /* To the end in any case: it takes the values over, also those it has no use for. */
    for (; fields->key; fields++)
        if (json_object_set_new_nocheck(object, fields->key, fields->value) < 0)
            whole = false;
    if (!whole) {
        json_decref(object);
        return NULL;
    }
    return object;
}
