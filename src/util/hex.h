#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes @size bytes as 2 * @size lower-case hex digits and a NUL to @ret. */
void hex_encode(const uint8_t *data, size_t size, char *ret);
