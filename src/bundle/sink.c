#include "bundle/sink.h"

#include <errno.h>
#include <stdbool.h>

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

int sink_digest(const struct sink *sink, char ret[65])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    uint8_t digest[SHA256_BYTES];
    bool is_done;

    if (!copy)
        return -ENOMEM;
    is_done =
        EVP_MD_CTX_copy_ex(copy, sink->hash) == 1 && EVP_DigestFinal_ex(copy, digest, NULL) == 1;
    EVP_MD_CTX_free(copy);
    if (!is_done)
        return -EIO;
    hex_encode(digest, sizeof(digest), ret);
    return 0;
}

int sink_commit(struct sink *sink, char ret_sha256[65])
{
    int r = sink->ops->commit(sink);

    if (r < 0) {
        sink->error = r;
        return r;
    }
    return sink_digest(sink, ret_sha256);
}

void sink_close(struct sink *sink)
{
    if (!sink)
        return;
    EVP_MD_CTX_free(sink->hash);
    sink->ops->close(sink);
}
