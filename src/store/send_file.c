#include "store/send_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/s3_upload.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/log.h"

typedef char object_name[NAME_MAX + 1];

struct file {
    struct s3 *s3;
    struct spool *spool;
    enum artifact_kind kind;
    object_name name;
    int fd;
    uint64_t size;
};

static int name_object(const char *id, enum artifact_kind kind, object_name ret)
{
    const int n = snprintf(ret, sizeof(object_name), "%s%s", id, artifact_suffixes[kind]);

    return n < 0 || (size_t)n >= sizeof(object_name) ? -ENAMETOOLONG : 0;
}

/*
 * The size of the next part: as of a stream, and so whatever part of it a stream sent already
 * serves. More than a stream may have is sent in parts of its own.
 */
static uint64_t part_bytes(const struct file *file, unsigned number)
{
    uint64_t most = 0;

    for (unsigned i = 1; i <= S3_MAX_PARTS && most < file->size; i++)
        most += s3_stream_part_bytes(i);
    return most >= file->size ? s3_stream_part_bytes(number) : s3_file_part_bytes(file->size);
}

typedef int take_part(struct s3_upload *upload, const struct s3_body *body);

static int take_all_parts(const struct file *file, struct s3_upload *upload, take_part *take)
{
    uint64_t done = 0;
    int r = 0;

    for (unsigned number = 1; r == 0 && done < file->size; number++) {
        const uint64_t left = file->size - done, part = part_bytes(file, number);
        const struct s3_body body = {
            .fd = file->fd, .offset = done, .size = left < part ? left : part};

        if (part == 0)
            return -EFBIG;
        r = take(upload, &body);
        done += body.size;
    }
    return r;
}

/* An upload that is no more may have been put together by a life before, which was killed before it
 * could note that: the object isn't sent again, since where versions are kept it would be two. */
static bool is_done(const struct file *file)
{
    struct s3_upload reckoned = {.s3 = file->s3, .name = file->name};
    const bool is_done =
        take_all_parts(file, &reckoned, s3_upload_reckon) == 0 && s3_upload_is_done(&reckoned);

    s3_upload_leave(&reckoned);
    if (is_done)
        log_info("%s is in %s already", file->name, s3_destination(file->s3));
    return is_done;
}

static int send_all_parts(const struct file *file, struct s3_upload *upload)
{
    int r = take_all_parts(file, upload, s3_upload_part);

    return r < 0 ? r : s3_upload_complete(upload);
}

static int send_in_parts(const struct file *file, const char *resume_id)
{
    struct s3_upload upload = {0};
    bool is_noted = resume_id[0] != '\0';
    int r = s3_upload_begin(file->s3, file->name, resume_id[0] ? resume_id : NULL, &upload);

    if (r == 0 && upload.is_resumed_gone && is_done(file)) {
        s3_upload_end(&upload);
        return 0;
    }
    if (r == 0) {
        is_noted = spool_note_upload(file->spool, file->kind, upload.id) == 0;
        r = send_all_parts(file, &upload);
    }
    /* What nobody can find again would only cost money. */
    if (r < 0 && is_noted)
        s3_upload_leave(&upload);
    else
        s3_upload_end(&upload);
    return r;
}

static int send(const struct file *file, const char *resume_id)
{
    const struct s3_body whole = {.fd = file->fd, .size = file->size};

    if (file->size <= S3_SINGLE_PUT_BYTES && !resume_id[0])
        return s3_put_object(file->s3, file->name, &whole);
    return send_in_parts(file, resume_id);
}

static int fail_reading(struct sent_file *ret, const char *name, int error)
{
    ret->is_unreadable = true;
    snprintf(ret->why, sizeof(ret->why), "cannot be read back from the cores dir: %s",
             strerrordesc_np(-error));
    return error == -ENOENT ? error : log_errno(error, "cannot read %s to send it", name);
}

int send_file(struct s3 *s3, struct spool *spool, const char *id, enum artifact_kind kind,
              struct sent_file *ret)
{
    struct file file = {.s3 = s3, .spool = spool, .kind = kind};
    const struct journal_artifact *before;
    _cleanup_close_ int fd = -1;
    struct journal_notes notes;
    int r;

    *ret = (struct sent_file){0};
    r = name_object(id, kind, file.name);
    if (r < 0)
        return fail_reading(ret, id, r);
    fd = file.fd = spool_read(spool, file.name, &file.size);
    r = fd < 0 ? fd : sha256_hex_range(fd, 0, file.size, ret->sha256);
    if (r < 0)
        return fail_reading(ret, file.name, r);
    ret->size = file.size;

    spool_noted(spool, &notes);
    before = &notes.artifacts[kind];
    ret->was_sent =
        before->is_sent && before->size == file.size && strcmp(before->sha256, ret->sha256) == 0;
    if (ret->was_sent)
        return 0;
    r = send(&file, before->is_sent ? "" : before->upload_id);
    if (r < 0) {
        snprintf(ret->why, sizeof(ret->why), "%s", s3_last_error(s3));
        return s3_report(s3, file.name);
    }
    r = s3_is_verified(s3) ? 0 : spool_note_unverified(spool, kind);
    if (r < 0) {
        snprintf(ret->why, sizeof(ret->why), "it can't be noted that it has to stay: %s",
                 strerrordesc_np(-r));
        return log_errno(r, "cannot note that %s, which isn't verified in the bucket, has to stay",
                         file.name);
    }
    r = spool_note_sent(spool, kind, file.size, ret->sha256);
    if (r < 0)
        log_info("it can't be noted that %s was sent: %s", file.name, strerrordesc_np(-r));
    return 0;
}

void send_file_abandon(struct s3 *s3, struct spool *spool, const char *id, enum artifact_kind kind)
{
    _cleanup_s3_upload_ struct s3_upload upload = {0};
    struct journal_notes notes;
    object_name name;

    spool_noted(spool, &notes);
    if (notes.artifacts[kind].is_sent || !notes.artifacts[kind].upload_id[0] ||
        name_object(id, kind, name) < 0)
        return;
    if (s3_upload_begin(s3, name, notes.artifacts[kind].upload_id, &upload) < 0)
        log_info("what was sent of %s stays in the bucket: %s", name, s3_last_error(s3));
}
