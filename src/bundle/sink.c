#include "bundle/sink.h"

#include <errno.h>

#include "util/digest.h"
#include "util/hex.h"

int sink_init(struct sink *sink, const struct sink_ops *ops)
{
    sink->ops = ops;
    sink->size = 0;
    sink->error = 0;
    sink->hash = EVP_MD_CTX_new();
    if (!sink->hash || EVP_DigestInit_ex(sink->hash, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(sink->hash);
        sink->hash = NULL;
        return -ENOMEM;
    }
    return 0;
}

int sink_write(struct sink *sink, const void *data, size_t size)
{
    int r = sink->ops->write(sink, data, size);

    if (r < 0) {
        sink->error = r;
        return r;
    }
    sink->size += size;
    return EVP_DigestUpdate(sink->hash, data, size) == 1 ? 0 : -EIO;
}

int sink_commit(struct sink *sink, char ret_sha256[65])
{
    uint8_t digest[SHA256_BYTES];
    int r = sink->ops->commit(sink);

    if (r < 0) {
        sink->error = r;
        return r;
    }
    if (EVP_DigestFinal_ex(sink->hash, digest, NULL) != 1)
        return -EIO;
    hex_encode(digest, sizeof(digest), ret_sha256);
    return 0;
}

void sink_close(struct sink *sink)
{
    if (!sink)
        return;
    EVP_MD_CTX_free(sink->hash);
    sink->ops->close(sink);
}
