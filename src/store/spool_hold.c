/* Who works on a bundle. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/spool_state.h"
#include "util/cleanup.h"

static void cleanup_journal(struct journal **journal)
{
    journal_close(*journal);
}

/* What a bundle may have in the directory: a committed artifact, or its .part. */
struct piece {
    enum artifact_kind kind;
    bool is_part;
    file_name name;
};

#define PIECES (2 * ARTIFACT_KINDS)

/* The n-th one. crash.json comes first: while it is there the rest is. Returns as make_name(). */
static int get_piece(const char *id, int n, struct piece *ret)
{
    file_name name;
    int r;

    ret->kind = (enum artifact_kind)(ARTIFACT_KINDS - 1 - n / 2);
    ret->is_part = n % 2;
    r = spool_artifact(id, ret->kind, name);
    if (r < 0)
        return r;
    if (ret->is_part)
        make_part_name(name, ret->name);
    else
        memcpy(ret->name, name, sizeof(name));
    return 0;
}

/* Returns 0, or -EEXIST where anything of the bundle is there besides the file that is ours. */
static int look_for_bundle(const struct spool *spool, const char *id, int our_fd)
{
    struct piece piece;
    struct stat found;

    for (int n = 0; n < PIECES; n++) {
        int r = get_piece(id, n, &piece);

        if (r < 0)
            return r;
        if (fstatat(spool->dir_fd, piece.name, &found, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT)
                return -errno;
        } else if (our_fd < 0 || !means_fd(spool->dir_fd, piece.name, our_fd)) {
            return -EEXIST;
        }
    }
    return 0;
}

/* Makes the claim's .part. Returns its descriptor or -errno. */
static int claim_part(const struct spool *spool, const char *id)
{
    file_name name, part;
    int fd, r = spool_artifact(id, ARTIFACT_CRASH_JSON, name);

    if (r < 0)
        return r;
    make_part_name(name, part);
    fd = create_file(spool->dir_fd, part, 0);
    if (fd < 0)
        return fd;
    /* Who committed between the first look and our claim? */
    r = look_for_bundle(spool, id, fd);
    if (r == 0)
        return fd;
    remove_file(spool->dir_fd, part, fd);
    close_fd(fd);
    return r;
}

static int note_whose(const struct spool *spool, struct journal *journal)
{
    return spool->destination[0] ? journal_note_destination(journal, spool->destination) : 0;
}

static void hold(struct spool *spool, const char *id, struct journal *journal)
{
    snprintf(spool->id, sizeof(spool->id), "%s", id);
    spool->journal = journal;
    spool->uid = journal_uid(journal);
    spool->knows_uid = true;
    spool->n_written = 0;
}

int spool_claim(struct spool *spool, const char *id)
{
    _cleanup_(cleanup_journal) struct journal *journal = NULL;
    int fd, r;

    if (spool->id[0])
        return -EBUSY;
    /* The first look keeps us from even touching a bundle that someone is writing. */
    r = look_for_bundle(spool, id, -1);
    if (r == 0)
        r = journal_create(spool->dir_fd, id, &journal);
    if (r < 0)
        return r;
    r = note_whose(spool, journal);
    if (r == 0 && spool->crash.pid > 0)
        r = journal_note_crash(journal, &spool->crash);
    fd = r < 0 ? r : claim_part(spool, id);
    if (fd < 0) {
        journal_remove(journal);
        return fd;
    }
    hold(spool, id, take_ptr(journal));
    spool->claim_fd = fd;
    spool->is_adopted = false;
    return 0;
}

/* Remembers the committed artifacts, which may be replaced from now on. Returns how many pieces
 * there are. */
static int take_pieces(struct spool *spool)
{
    struct piece piece;
    struct stat file;
    int count = 0;

    for (int n = 0; n < PIECES; n++)
        if (get_piece(spool->id, n, &piece) == 0 &&
            look_at_own_file(spool->dir_fd, piece.name, spool->uid, &file) == 0) {
            if (!piece.is_part)
                spool_note_written(spool, piece.name, &file);
            count++;
        }
    return count;
}

static void let_go(struct spool *spool)
{
    journal_close(take_ptr(spool->journal));
    spool->id[0] = '\0';
    spool->n_written = 0;
}

/* A bundle that has none gets a journal, if it is complete: else its owner may just be beginning.
 */
static int give_journal(struct spool *spool, const char *id, struct journal **ret)
{
    struct stat file;
    file_name name;
    int r = spool_artifact(id, ARTIFACT_CRASH_JSON, name);

    if (r == 0)
        r = look_at_own_file(spool->dir_fd, name, spool_uid(spool), &file);
    if (r == 0)
        r = journal_create(spool->dir_fd, id, ret);
    return r == -EEXIST ? -EBUSY : r == -ELOOP ? -EPERM : r;
}

typedef int journal_opener(int dir_fd, const char *id, uid_t uid, struct journal **ret);

/* Returns how many pieces there are, or -errno. */
static int adopt(struct spool *spool, const char *id, journal_opener *open_journal)
{
    _cleanup_(cleanup_journal) struct journal *journal = NULL;
    struct journal_notes notes;
    int r;

    if (spool->id[0])
        return -EBUSY;
    r = open_journal(spool->dir_fd, id, spool_uid(spool), &journal);
    if (r == -ENOENT)
        r = give_journal(spool, id, &journal);
    if (r < 0)
        return r;
    journal_noted(journal, &notes);
    if (!spool_is_ours(spool, &notes))
        return -EPERM;
    r = note_whose(spool, journal);
    if (r < 0 && r != -ENOSPC && r != -EDQUOT) /* sending it is what makes room */
        return r;
    hold(spool, id, take_ptr(journal));
    spool->is_adopted = true;
    return take_pieces(spool);
}

int spool_adopt(struct spool *spool, const char *id)
{
    const int n = adopt(spool, id, journal_open);

    if (n == 0) {
        let_go(spool);
        return -ENOENT;
    }
    return n < 0 ? n : 0;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

int spool_adopt_crash(struct spool *spool, const struct journal_crash *crash, char *ret_id)
{
    _cleanup_(spool_list_free) struct spool_list list = {0};
    int r = spool_list(spool, &list);

    for (size_t i = 0; r == 0 && i < list.n; i++) {
        const struct journal_crash *found = &list.bundles[i].crash;

        if (found->pid == crash->pid && is_same_time(&found->realtime, &crash->realtime) &&
            is_same_time(&found->boottime, &crash->boottime)) {
            memcpy(ret_id, list.bundles[i].id, sizeof(list.bundles[i].id));
            r = adopt(spool, ret_id, journal_open_unlocked);
            return r < 0 ? r : 0;
        }
    }
    return r < 0 ? r : -ENOENT;
}

int spool_note_core(struct spool *spool, const char *path)
{
    return spool->journal ? journal_note_core(spool->journal, path) : -ENOENT;
}

int spool_note_core_stays(struct spool *spool)
{
    return spool->journal ? journal_note_core_stays(spool->journal) : -ENOENT;
}

int spool_note_upload(struct spool *spool, enum artifact_kind kind, const char *upload_id)
{
    return spool->journal ? journal_note_upload(spool->journal, kind, upload_id) : -ENOENT;
}

int spool_note_sent(struct spool *spool, enum artifact_kind kind, uint64_t size, const char *sha256)
{
    return spool->journal ? journal_note_sent(spool->journal, kind, size, sha256) : -ENOENT;
}

int spool_note_sent_all(struct spool *spool)
{
    return spool->journal ? journal_note_sent_all(spool->journal) : -ENOENT;
}

int spool_note_unverified(struct spool *spool, enum artifact_kind kind)
{
    return spool->journal ? journal_note_unverified(spool->journal, kind) : -ENOENT;
}

bool spool_is_verified(struct spool *spool)
{
    struct journal_notes notes;

    spool_noted(spool, &notes);
    return journal_is_verified(&notes);
}

void spool_noted(struct spool *spool, struct journal_notes *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (spool->journal)
        journal_noted(spool->journal, ret);
}

static void drop_claim_part(struct spool *spool)
{
    struct piece part;

    if (spool->claim_fd >= 0 && get_piece(spool->id, 1, &part) == 0)
        remove_file(spool->dir_fd, part.name, spool->claim_fd);
    close_fd(take_fd(&spool->claim_fd));
}

void spool_release(struct spool *spool, const char *id)
{
    if (!spool->id[0] || strcmp(id, spool->id) != 0)
        return;
    drop_claim_part(spool);
    if (look_for_bundle(spool, id, -1) == 0)
        journal_remove(spool->journal);
    let_go(spool);
}

static void remove_pieces(struct spool *spool, const char *id, bool parts_alone)
{
    struct piece piece;

    for (int n = 0; n < PIECES; n++)
        if (get_piece(id, n, &piece) == 0 && (piece.is_part || !parts_alone))
            remove_own_file(spool->dir_fd, piece.name, spool_uid(spool));
}

void spool_remove_parts(struct spool *spool)
{
    if (spool->id[0])
        remove_pieces(spool, spool->id, true);
}

bool spool_abandon(struct spool *spool, const char *id)
{
    struct stat found;
    file_name name;
    bool is_whole;

    if (!spool->id[0] || strcmp(id, spool->id) != 0 ||
        spool_artifact(id, ARTIFACT_CRASH_JSON, name) < 0)
        return false;
    is_whole = look_at_own_file(spool->dir_fd, name, spool->uid, &found) == 0;
    remove_pieces(spool, id, is_whole);
    return is_whole;
}

int spool_remove(struct spool *spool, const char *id)
{
    _cleanup_(cleanup_journal) struct journal *journal = NULL;
    struct journal_notes notes;
    int r;

    if (spool->id[0] && strcmp(id, spool->id) == 0) {
        remove_pieces(spool, id, false);
        spool_release(spool, id);
        return 0;
    }
    r = journal_open(spool->dir_fd, id, spool_uid(spool), &journal);
    if (r == -ENOENT)
        r = give_journal(spool, id, &journal);
    if (r < 0)
        return r;
    journal_noted(journal, &notes);
    if (!spool_is_ours(spool, &notes))
        return -EPERM;
    remove_pieces(spool, id, false);
    if (look_for_bundle(spool, id, -1) == 0)
        journal_remove(journal);
    return 0;
}
