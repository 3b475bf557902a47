#include "store/s3_checksum.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "util/cleanup.h"
#include "util/hex.h"
#include "util/io.h"

#define CHUNK_BYTES ((size_t)64 * 1024)

static const struct s3_algorithm_facts algorithms[S3_ALGORITHMS] = {
    [S3_CRC64NVME] = {"crc64nvme", "CRC64NVME", "x-amz-checksum-crc64nvme", CRC_64_NVME, 8, true},
    [S3_CRC32C] = {"crc32c", "CRC32C", "x-amz-checksum-crc32c", CRC_32C, 4, false},
    [S3_CRC32] = {"crc32", "CRC32", "x-amz-checksum-crc32", CRC_32, 4, false},
    [S3_MD5] = {"md5", NULL, "content-md5", CRC_NONE, 16, false},
};

const struct s3_algorithm_facts *s3_algorithm_facts(enum s3_algorithm algorithm)
{
    return &algorithms[algorithm];
}

enum s3_algorithm s3_algorithm_of(const char *name)
{
    enum s3_algorithm algorithm = 0;

    while (algorithm < S3_ALGORITHMS && strcasecmp(name, algorithms[algorithm].setting) != 0)
        algorithm++;
    return algorithm;
}

static void cleanup_md(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}
#define _cleanup_md_ _cleanup_(cleanup_md)

static EVP_MD_CTX *begin(const EVP_MD *type)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context && EVP_DigestInit_ex(context, type, NULL) == 1)
        return context;
    EVP_MD_CTX_free(context);
    return NULL;
}

/* What a body's bytes pass through. */
struct pass {
    EVP_MD_CTX *sha256, *md5; /* @md5 is NULL where a CRC is asked for */
    const struct crc *crc;
    uint64_t value;
};

static int pass_bytes(struct pass *pass, const void *data, size_t size)
{
    if (EVP_DigestUpdate(pass->sha256, data, size) != 1)
        return -EIO;
    if (pass->md5)
        return EVP_DigestUpdate(pass->md5, data, size) == 1 ? 0 : -EIO;
    pass->value = crc_update(pass->crc, pass->value, data, size);
    return 0;
}

static int pass_body(struct pass *pass, const struct s3_body *body)
{
    _cleanup_free_ char *chunk = NULL;

    if (body->data || body->size == 0)
        return pass_bytes(pass, body->data, (size_t)body->size);
    chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return -ENOMEM;
    for (uint64_t done = 0; done < body->size;) {
        uint64_t left = body->size - done;
        size_t size = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        ssize_t n = pread_full(body->fd, chunk, size, body->offset + done);
        int r = n < 0 ? (int)n : (size_t)n < size ? -ENODATA : pass_bytes(pass, chunk, size);

        if (r < 0)
            return r;
        done += size;
    }
    return 0;
}

/* A CRC's bytes, the highest first. */
static void put_crc(uint64_t value, size_t size, uint8_t *ret)
{
    value = htobe64(value << (64 - 8 * size));
    memcpy(ret, &value, size);
}

int s3_digest_body(enum s3_algorithm algorithm, struct crc *crc, const struct s3_body *body,
                   struct s3_digest *ret)
{
    const struct s3_algorithm_facts *facts = &algorithms[algorithm];
    _cleanup_md_ EVP_MD_CTX *sha256 = begin(EVP_sha256());
    _cleanup_md_ EVP_MD_CTX *md5 = facts->crc == CRC_NONE ? begin(EVP_md5()) : NULL;
    struct pass pass = {.sha256 = sha256, .md5 = md5, .crc = crc};
    uint8_t hash[SHA256_BYTES];
    int r;

    if (!sha256 || (facts->crc == CRC_NONE && !md5))
        return -EIO;
    if (facts->crc != CRC_NONE)
        crc_init(crc, facts->crc);
    r = pass_body(&pass, body);
    if (r < 0)
        return r;
    if (EVP_DigestFinal_ex(sha256, hash, NULL) != 1 ||
        (md5 && EVP_DigestFinal_ex(md5, ret->sum, NULL) != 1))
        return -EIO;
    if (!md5)
        put_crc(pass.value, facts->sum_bytes, ret->sum);
    hex_encode(hash, sizeof(hash), ret->sha256);
    EVP_EncodeBlock((unsigned char *)ret->text, ret->sum, (int)facts->sum_bytes);
    return 0;
}

static int checksum_of_bytes(struct crc *crc, const struct s3_part_sum *parts, unsigned n_parts,
                             char *ret)
{
    uint64_t value = 0;
    uint8_t sum[sizeof(value)];

    for (unsigned i = 0; i < n_parts; i++) {
        uint64_t part;

        memcpy(&part, parts[i].sum, sizeof(part));
        value = crc_combine(crc, value, be64toh(part), parts[i].size);
    }
    put_crc(value, sizeof(sum), sum);
    EVP_EncodeBlock((unsigned char *)ret, sum, sizeof(sum));
    return 0;
}

static int checksum_of_checksums(enum s3_algorithm algorithm, struct crc *crc,
                                 const struct s3_part_sum *parts, unsigned n_parts, char *ret)
{
    const size_t size = algorithms[algorithm].sum_bytes;
    _cleanup_free_ uint8_t *sums = malloc(n_parts * size + 1);
    uint8_t sum[S3_MAX_SUM_BYTES];

    if (!sums)
        return -ENOMEM;
    for (unsigned i = 0; i < n_parts; i++)
        memcpy(sums + i * size, parts[i].sum, size);
    if (algorithm == S3_MD5) {
        if (EVP_Digest(sums, n_parts * size, sum, NULL, EVP_md5(), NULL) != 1)
            return -EIO;
        hex_encode(sum, size, ret);
    } else {
        put_crc(crc_update(crc, 0, sums, n_parts * size), size, sum);
        EVP_EncodeBlock((unsigned char *)ret, sum, (int)size);
    }
    snprintf(ret + strlen(ret), S3_CHECKSUM_TEXT - strlen(ret), "-%u", n_parts);
    return 0;
}

int s3_object_checksum(enum s3_algorithm algorithm, struct crc *crc,
                       const struct s3_part_sum *parts, unsigned n_parts,
                       char ret[S3_CHECKSUM_TEXT])
{
    const struct s3_algorithm_facts *facts = &algorithms[algorithm];

    if (facts->crc != CRC_NONE)
        crc_init(crc, facts->crc);
    return facts->is_full_object ? checksum_of_bytes(crc, parts, n_parts, ret)
                                 : checksum_of_checksums(algorithm, crc, parts, n_parts, ret);
}
