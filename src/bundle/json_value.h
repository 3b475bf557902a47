#pragma once

/*
 * JSON values from what the system gives. Each returns a new reference, or NULL (out of memory);
 * what isn't known is JSON's null, so that objects always have all their keys.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* A text of at most @size bytes, ended earlier by a NUL. Bytes that are no UTF-8 become U+FFFD. */
json_t *json_text(const char *text, size_t size);

/* The same, but null where it is empty or NULL: for texts that are never empty. */
json_t *json_known_text(const char *text, size_t size);

/* An integer, or null. */
json_t *json_known_integer(bool known, int64_t value);

/* Bytes and counts; JSON readers have 63 bits at best. */
json_t *json_size(uint64_t size);

/* An address, or anything else of 64 bits: "0x7f0012345678". */
json_t *json_hex(uint64_t value);

struct json_field {
    const char *key;
    json_t *value; /* stolen */
};

/* An object of these fields in that order, ended by one without a key; NULL where a value is. */
json_t *json_object_of(const struct json_field *fields);
