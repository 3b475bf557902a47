#pragma once

/*
 * Where an artifact's bytes go: in order, once, without ever being held whole. A sink is the spool
 * directory or an S3 object (store/); the bundle does not know which.
 *
 * Every sink counts and hashes (SHA-256) what passes, because crash.json lists both.
 */

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

struct sink;

struct sink_ops {
    /* Takes the next @size bytes. Returns 0 or -errno (-ENOSPC: try another sink). */
    int (*write)(struct sink *sink, const void *data, size_t size);

    /* Makes the artifact durable and visible under its final name. Returns 0 or -errno. */
    int (*commit)(struct sink *sink);

    /* Frees the sink. One that was not committed leaves nothing behind under the final name. */
    void (*close)(struct sink *sink);
};

/* The first member of every implementation. */
struct sink {
    const struct sink_ops *ops;
    uint64_t size;    /* bytes taken so far */
    int error;        /* the first of ops->write and ops->commit: not the writer's own */
    EVP_MD_CTX *hash; /* SHA-256 of those */
};

/* Prepares the common part of an implementation. Returns 0 or -ENOMEM. */
int sink_init(struct sink *sink, const struct sink_ops *ops);

/* Passes bytes on, counted and hashed. Returns 0 or -errno as ops->write. */
int sink_write(struct sink *sink, const void *data, size_t size);

/* SHA-256 of the bytes so far, as 64 hex digits and a NUL. Returns 0, -ENOMEM or -EIO. */
int sink_digest(const struct sink *sink, char ret[65]);

/*
 * Ends an artifact well.
 *
 * @ret_sha256  64 lower-case hex digits and a NUL
 *
 * Returns 0 or -errno as ops->commit. The sink still has to be closed.
 */
int sink_commit(struct sink *sink, char ret_sha256[65]);

/* Frees the sink and its artifact's remains if it was not committed; NULL is fine. */
void sink_close(struct sink *sink);

static inline void cleanup_sink(struct sink **sink)
{
    sink_close(*sink);
}
#define _cleanup_sink_ __attribute__((cleanup(cleanup_sink)))
