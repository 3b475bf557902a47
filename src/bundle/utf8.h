#pragma once

/* UTF-8 (RFC 3629): procfs and file systems give bytes, ZIP and JSON want characters. */

#include <stdbool.h>
#include <stddef.h>

/*
 * The length of the character that @text begins with, 1 to 4 bytes; 0 where the bytes are none:
 * a stray or missing continuation byte, an overlong form, a surrogate, above U+10FFFF, @size 0.
 */
size_t utf8_character(const char *text, size_t size);

bool utf8_is_valid(const char *text, size_t size);
