#include "util/crc.h"

#include <endian.h>
#include <string.h>

static const struct {
    uint64_t polynomial, ones;
} kinds[] = {
    [CRC_64_NVME] = {0x9a6c9329ac4bc9b5, UINT64_MAX},
    [CRC_32C] = {0x82f63b78, UINT32_MAX},
    [CRC_32] = {0xedb88320, UINT32_MAX},
};

/* The register after one bit that is 0: in a reflected CRC, a polynomial times x. */
static uint64_t shift(const struct crc *crc, uint64_t value)
{
    return (value >> 1) ^ (value & 1 ? crc->polynomial : 0);
}

void crc_init(struct crc *crc, enum crc_kind kind)
{
    if (crc->kind == kind)
        return;
    crc->kind = kind;
    crc->polynomial = kinds[kind].polynomial;
    crc->ones = kinds[kind].ones;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t value = byte;

        for (int bit = 0; bit < 8; bit++)
            value = shift(crc, value);
        crc->table[0][byte] = value;
    }
    for (int slice = 1; slice < 8; slice++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint64_t before = crc->table[slice - 1][byte];

            crc->table[slice][byte] = (before >> 8) ^ crc->table[0][before & 0xff];
        }
}

uint64_t crc_update(const struct crc *crc, uint64_t value, const void *data, size_t size)
{
    const unsigned char *next = data;

    value ^= crc->ones;
    for (; size >= 8; next += 8, size -= 8) {
        uint64_t word, after = 0;

        memcpy(&word, next, 8);
        word = le64toh(word) ^ value;
        for (int slice = 7; slice >= 0; slice--, word >>= 8)
            after ^= crc->table[slice][word & 0xff];
        value = after;
    }
    for (; size > 0; next++, size--)
        value = (value >> 8) ^ crc->table[0][(value ^ *next) & 0xff];
    return value ^ crc->ones;
}

/* The product of two polynomials, modulo the CRC's; the highest bit of the width is x^0. */
static uint64_t multiply(const struct crc *crc, uint64_t a, uint64_t b)
{
    uint64_t product = 0;

    for (uint64_t bit = (crc->ones >> 1) + 1; bit > 0; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = shift(crc, b);
    }
    return product;
}

/* As many bytes that are 0, behind the first text, multiply its CRC by x^8 each; the inversions
 * before and after cancel out. */
uint64_t crc_combine(const struct crc *crc, uint64_t first, uint64_t second, uint64_t second_size)
{
    uint64_t one = (crc->ones >> 1) + 1;
    uint64_t power = one >> 8; /* x^8 */

    for (; second_size > 0; second_size >>= 1) {
        if (second_size & 1)
            first = multiply(crc, power, first);
        power = multiply(crc, power, power);
    }
    return first ^ second;
}
