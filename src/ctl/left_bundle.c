#include "ctl/left_bundle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/json_write.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"
#include "util/log.h"

typedef char file_name[NAME_MAX + 1];

/* @suffix  behind the artifact's: ".part", or "" */
static int name_file(const struct left_bundle *bundle, enum artifact_kind kind, const char *suffix,
                     file_name ret)
{
    const int n =
        snprintf(ret, sizeof(file_name), "%s%s%s", bundle->id, artifact_suffixes[kind], suffix);

    return n < 0 || (size_t)n >= sizeof(file_name) ? -ENAMETOOLONG : 0;
}

static int read_account(struct left_bundle *bundle, const char *suffix)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int fd = -1;
    file_name name;
    uint64_t size;
    ssize_t n;
    int r = name_file(bundle, ARTIFACT_CRASH_JSON, suffix, name);

    fd = r < 0 ? r : spool_read(bundle->spool, name, &size);
    if (fd < 0)
        return fd;
    if (size > ACCOUNT_MAX_BYTES)
        return -EFBIG;
    text = malloc(size + 1);
    if (!text)
        return -ENOMEM;
    n = pread_full(fd, text, size, 0);
    return n < 0 ? (int)n : account_parse(text, (size_t)n, bundle->id, &bundle->account);
}

void left_bundle_read(struct spool *spool, const char *id, struct left_bundle *ret)
{
    int r;

    *ret = (struct left_bundle){.spool = spool, .id = id};
    r = read_account(ret, "");
    ret->is_complete = r != -ENOENT;
    if (r == -ENOENT)
        r = read_account(ret, ".part");
    if (r < 0 && r != -ENOENT)
        log_warning("the crash.json of %s can't be read (%s): what became of its artifacts can't "
                    "be told in it",
                    id, strerrordesc_np(-r));
}

/* An artifact as it is, whatever the account says. */
static void look_at(const struct left_bundle *bundle, enum artifact_kind kind,
                    const struct journal_notes *notes, struct artifact *ret)
{
    const struct journal_artifact *noted = &notes->artifacts[kind];
    _cleanup_close_ int fd = -1;
    file_name name;

    *ret = (struct artifact){.in_s3 = noted->is_sent};
    fd = name_file(bundle, kind, "", name) < 0 ? -1 : spool_read(bundle->spool, name, &ret->size);
    ret->in_cores_dir = fd >= 0 && sha256_hex_range(fd, 0, ret->size, ret->sha256) == 0;
    ret->made = ret->in_cores_dir || ret->in_s3;
    if (!ret->in_cores_dir && ret->in_s3) {
        ret->size = noted->size;
        memcpy(ret->sha256, noted->sha256, sizeof(ret->sha256));
    }
    if (!ret->made)
        strcpy(ret->error, "the collector was killed before it was made");
    else if (!ret->in_s3 && notes->destination[0])
        strcpy(ret->error, ARTIFACT_NOT_SENT "the collector was killed");
}

int left_bundle_complete(struct left_bundle *bundle)
{
    struct journal_notes notes;
    struct artifact artifact;
    int r = 0;

    spool_noted(bundle->spool, &notes);
    for (int kind = 0; bundle->account && r == 0 && kind < ARTIFACT_CRASH_JSON; kind++) {
        look_at(bundle, (enum artifact_kind)kind, &notes, &artifact);
        r = account_set(bundle->account, (enum artifact_kind)kind, &artifact);
    }
    if (r == 0)
        r = bundle->account ? account_complete(bundle->account) : -ENOENT;
    spool_remove_parts(bundle->spool);
    if (r == 0)
        r = left_bundle_commit(bundle);
    bundle->is_complete = r == 0;
    return r;
}

void left_bundle_tell(struct left_bundle *bundle, enum artifact_kind kind, int r,
                      const struct sent_file *file, bool stays)
{
    struct artifact artifact;

    if (!bundle->account)
        return;
    account_get(bundle->account, kind, &artifact);
    if (r == 0) {
        artifact.made = artifact.in_s3 = true;
        artifact.in_cores_dir = stays;
        artifact.size = file->size;
        memcpy(artifact.sha256, file->sha256, sizeof(artifact.sha256));
        if (strncmp(artifact.error, ARTIFACT_NOT_SENT, strlen(ARTIFACT_NOT_SENT)) == 0)
            artifact.error[0] = '\0';
    } else if (r != -ENOENT) {
        snprintf(artifact.error, sizeof(artifact.error), "%s", file->why);
    } else if (artifact.in_cores_dir) {
        artifact.in_cores_dir = false;
        if (!artifact.in_s3) {
            artifact.made = false;
            strcpy(artifact.error, "it was removed before it was sent");
        }
    }
    if (account_set(bundle->account, kind, &artifact) < 0)
        log_warning("what became of %s%s can't be told in its crash.json: out of memory",
                    bundle->id, artifact_suffixes[kind]);
}

int left_bundle_commit(struct left_bundle *bundle)
{
    _cleanup_sink_ struct sink *sink = NULL;
    char sha256[65];
    file_name name;
    int r = name_file(bundle, ARTIFACT_CRASH_JSON, "", name);

    if (!bundle->account || r < 0)
        return r;
    r = spool_sink(bundle->spool, name, &sink);
    if (r == 0)
        r = json_write(bundle->account, sink);
    return r < 0 ? r : sink_commit(sink, sha256);
}

void left_bundle_free(struct left_bundle *bundle)
{
    json_decref(bundle->account);
}
