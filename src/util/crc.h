#pragma once

/*
 * The CRCs that S3 verifies, by slicing-by-8: CRC-64/NVME (NVM Express NVM Command Set
 * Specification, 5.2.1.3.4), CRC-32C (RFC 3720, B.4) and CRC-32 (ISO 3309). All three are reflected
 * and inverted before and after, so that they differ in nothing but the polynomial and the width.
 */

#include <stddef.h>
#include <stdint.h>

enum crc_kind {
    CRC_NONE, /* of a zeroed struct crc */
    CRC_64_NVME,
    CRC_32C,
    CRC_32,
};

/* Tables of one kind, 16 KiB. */
struct crc {
    enum crc_kind kind;
    uint64_t polynomial; /* its lowest coefficient in the highest bit of the width */
    uint64_t ones;       /* all bits of the width */
    uint64_t table[8][256];
};

/* Makes the tables, or leaves them alone where they are of that kind already. */
void crc_init(struct crc *crc, enum crc_kind kind);

/* The CRC of some bytes and @size more, @value being that of the first ones (of none: 0). */
uint64_t crc_update(const struct crc *crc, uint64_t value, const void *data, size_t size);

/* The CRC of two texts, one behind the other, of theirs and of the second one's size. */
uint64_t crc_combine(const struct crc *crc, uint64_t first, uint64_t second, uint64_t second_size);
