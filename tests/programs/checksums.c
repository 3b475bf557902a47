/*
 * The checksums of S3 that Python doesn't have, for tests/e2e/s3_server.py (ctypes). A byte at a
 * time by a table, in the way of the textbooks: nothing of src/util/crc.c is in it.
 */

#include <stddef.h>
#include <stdint.h>

uint64_t reflected_crc(uint64_t polynomial, uint64_t ones, const unsigned char *data, size_t size);

uint64_t reflected_crc(uint64_t polynomial, uint64_t ones, const unsigned char *data, size_t size)
{
    uint64_t table[256], crc = ones;

    for (unsigned i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] & 1 ? (table[i] >> 1) ^ polynomial : table[i] >> 1;
    }
    for (size_t i = 0; i < size; i++)
        crc = table[(crc ^ data[i]) & 0xff] ^ (crc >> 8);
    return crc ^ ones;
}
