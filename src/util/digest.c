#include "util/digest.h"

#include <errno.h>

#include <openssl/evp.h>

#include "util/hex.h"
#include "util/io.h"

static void free_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

int sha256_hex(const void *data, size_t size, char ret[2 * SHA256_BYTES + 1])
{
    uint8_t digest[SHA256_BYTES];

    if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) != 1)
        return -EIO;
    hex_encode(digest, sizeof(digest), ret);
    return 0;
}

int sha256_hex_range(int fd, uint64_t offset, uint64_t size, char ret[2 * SHA256_BYTES + 1])
{
    __attribute__((cleanup(free_context))) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[SHA256_BYTES];
    uint8_t buffer[64 * 1024];

    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        return -EIO;
    while (size > 0) {
        size_t want = size < sizeof(buffer) ? (size_t)size : sizeof(buffer);
        ssize_t n = pread_full(fd, buffer, want, offset);

        if (n < 0)
            return (int)n;
        if ((size_t)n < want)
            return -ENODATA;
        if (EVP_DigestUpdate(context, buffer, want) != 1)
            return -EIO;
        offset += want;
        size -= want;
    }
    if (EVP_DigestFinal_ex(context, digest, NULL) != 1)
        return -EIO;
    hex_encode(digest, sizeof(digest), ret);
    return 0;
}
