#include "store/send_stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "store/s3_parts.h"
#include "store/s3_upload.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/hex.h"
#include "util/io.h"
#include "util/log.h"

struct stream {
    struct s3 *s3;
    struct spool *spool;
    struct sending *sending;
    struct s3_upload upload;
    EVP_MD_CTX *hash; /* of what was read, which should be what was made */
    uint64_t size;
    bool is_local; /* the failure isn't S3's */
};

static bool is_journalled(const struct stream *stream)
{
    return stream->spool && stream->sending->kind != SENDING_EARLY;
}

static int fail_here(struct stream *stream, int error)
{
    stream->is_local = true;
    return error;
}

static int hash_body(EVP_MD_CTX *hash, const struct s3_body *body)
{
    char buffer[64 * 1024];
    uint64_t done = 0;

    if (body->data)
        return EVP_DigestUpdate(hash, body->data, body->size) == 1 ? 0 : -EIO;
    while (done < body->size) {
        const uint64_t left = body->size - done;
        ssize_t n = pread_full(body->fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer),
                               body->offset + done);

        if (n <= 0)
            return n < 0 ? (int)n : -ENODATA;
        if (EVP_DigestUpdate(hash, buffer, (size_t)n) != 1)
            return -EIO;
        done += (uint64_t)n;
    }
    return 0;
}

/* An object is what was made, or isn't put together. */
static int check_hash(const struct stream *stream)
{
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];

    if (EVP_DigestFinal_ex(stream->hash, digest, NULL) != 1)
        return -EIO;
    hex_encode(digest, sizeof(digest), hex);
    return strcmp(hex, stream->sending->sha256) == 0 ? 0 : -EBADMSG;
}

static int begin_upload(struct stream *stream)
{
    struct sending *sending = stream->sending;
    struct journal_notes notes = {0};
    const char *resume_id = "";
    int r;

    if (is_journalled(stream)) {
        spool_noted(stream->spool, &notes);
        resume_id = notes.artifacts[sending->kind].upload_id;
    }
    r = s3_upload_begin(stream->s3, sending->name, resume_id[0] ? resume_id : NULL,
                        &stream->upload);
    if (r == 0 && is_journalled(stream) && strcmp(stream->upload.id, resume_id) != 0)
        (void)spool_note_upload(stream->spool, sending->kind, stream->upload.id);
    return r;
}

static int send_part(struct stream *stream, const struct sending_part *part)
{
    int r;

    r = hash_body(stream->hash, &part->body);
    if (r == 0 && part->is_last)
        r = check_hash(stream);
    if (r < 0)
        return fail_here(stream, r);
    stream->size += part->body.size;
    if (part->number == 1 && part->is_last)
        return s3_put_object(stream->s3, stream->sending->name, &part->body);
    r = part->number == 1 ? begin_upload(stream) : 0;
    if (r == 0)
        r = s3_upload_part(&stream->upload, &part->body);
    if (r == 0 && part->is_last)
        r = s3_upload_complete(&stream->upload);
    return r;
}

static int send_parts(struct stream *stream)
{
    struct sending_part part = {0};
    uint64_t offset = 0;
    int r = 0;

    for (unsigned number = 1; r == 0 && !part.is_last; number++) {
        part = (struct sending_part){.number = number, .offset = offset};
        if (s3_stream_part_bytes(number) == 0)
            return fail_here(stream, -EFBIG);
        r = sending_part_wait(stream->sending, &part);
        if (r < 0)
            return fail_here(stream, r);
        r = send_part(stream, &part);
        sending_part_done(stream->sending, &part);
        offset += part.body.size;
    }
    return r;
}

/* Leaves an upload that somebody can go on with, and aborts any other. */
static void end_upload(struct stream *stream, int error)
{
    const bool may_go_on =
        error == -ESHUTDOWN || error == -ETIMEDOUT || (!stream->is_local && !s3_is_hopeless(error));

    if (error < 0 && may_go_on && is_journalled(stream))
        s3_upload_leave(&stream->upload);
    else
        s3_upload_end(&stream->upload);
}

static void tell(const struct stream *stream, int error, char *why, size_t why_size)
{
    const char *name = stream->sending->name;

    if (!stream->is_local) {
        s3_report(stream->s3, name);
        snprintf(why, why_size, "%s", s3_last_error(stream->s3));
        return;
    }
    if (error == -ECANCELED || error == -ESHUTDOWN)
        snprintf(why, why_size, "it was not made");
    else if (error == -ETIMEDOUT)
        snprintf(why, why_size, "there was no time left");
    else if (error == -EBADMSG)
        snprintf(why, why_size, "the cores dir gave back other bytes than were written");
    else
        snprintf(why, why_size, "%s",
                 error == -EFBIG ? "it is more than 242 GiB" : strerrordesc_np(-error));
    if (error != -ECANCELED && error != -ESHUTDOWN)
        log_error("%s is not sent: %s", name, why);
}

int send_stream(struct s3 *s3, struct spool *spool, struct sending *sending, char *why,
                size_t why_size)
{
    struct stream stream = {.s3 = s3, .spool = spool, .sending = sending};
    int r = -ENOMEM;

    stream.hash = EVP_MD_CTX_new();
    if (stream.hash && EVP_DigestInit_ex(stream.hash, EVP_sha256(), NULL) == 1)
        r = send_parts(&stream);
    else
        stream.is_local = true;
    EVP_MD_CTX_free(stream.hash);
    if (r == 0 && is_journalled(&stream) && !s3_is_verified(s3)) {
        r = spool_note_unverified(spool, sending->kind);
        stream.is_local = r < 0;
    }
    if (r < 0)
        tell(&stream, r, why, why_size);
    else if (is_journalled(&stream))
        (void)spool_note_sent(spool, sending->kind, stream.size, sending->sha256);
    end_upload(&stream, r);
    return r;
}
