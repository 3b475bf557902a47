#include "bundle/utf8.h"

#include <stdint.h>

/*
 * RFC 3629's table of well-formed sequences (section 4): by the first byte, how many follow, and
 * within what bounds the second lies. Every further one is 80..BF.
 */
static const struct {
    uint8_t first, last;
    uint8_t length;
    uint8_t low, high;
} sequences[] = {
    {0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
    {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};

size_t utf8_character(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;

    for (size_t i = 0; size > 0 && i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        if (bytes[0] < sequences[i].first || bytes[0] > sequences[i].last)
            continue;
        if (sequences[i].length > size)
            return 0;
        if (sequences[i].length > 1 &&
            (bytes[1] < sequences[i].low || bytes[1] > sequences[i].high))
            return 0;
        for (size_t k = 2; k < sequences[i].length; k++)
            if ((bytes[k] & 0xc0) != 0x80)
                return 0;
        return sequences[i].length;
    }
    return 0;
}

bool utf8_is_valid(const char *text, size_t size)
{
    while (size > 0) {
        size_t length = utf8_character(text, size);

        if (length == 0)
            return false;
        text += length;
        size -= length;
    }
    return true;
}
