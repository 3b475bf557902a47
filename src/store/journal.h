#pragma once

/*
 * A bundle's journal, the hidden file .ID.journal beside it: what must be known of it after its
 * collector was killed, and who works on it. It stays until the bundle is removed.
 *
 * Text (journal_text.h), only ever appended to, each note fsync(2)ed. The directory may be
 * world-writable, so that all of it is read as anyone's, and what is no regular file of one link
 * and of our user is refused.
 *
 * The lock is flock(2), LOCK_EX: it goes with its holder, however that ends. It belongs to the open
 * file, so a fork(2)ed child shares it until it executes something (O_CLOEXEC) or ends;
 * journal_close() unlocks for them too. On NFS it is a byte-range lock at the server (since Linux
 * 2.6.12; EFS is NFS), and that of a machine that is gone lasts until the server's lease ends.
 */

#include <stdint.h>
#include <sys/types.h>

#include "bundle/name.h"
#include "store/journal_text.h"

/* No journal of ours comes near. */
#define JOURNAL_MOST_BYTES (256 * 1024)

struct journal;

/*
 * Makes the journal of an id exclusively, and locks it.
 *
 * Returns 0, -EEXIST (one is there, whatever it is), -ENOSPC (not even its first line fits) or
 * -errno. Where the file system has no locks (flock(2): ENOLCK, ENOSYS, EOPNOTSUPP) the journal is
 * ours all the same, and journal_open() lets nobody else have it.
 */
int journal_create(int dir_fd, const char *id, struct journal **ret);

/*
 * Takes over the journal of an id, and locks it. The end of a torn last line is cut off.
 *
 * @uid  whose it must be
 *
 * Returns 0, -ENOENT, -EBUSY (somebody works on the bundle), -ELOOP or -EPERM (planted: no regular
 * file of one link and of @uid), -EBADMSG (no journal of ours), -EFBIG, -ENOLCK (the file system
 * has no locks, so that nobody can know whether somebody works on it) or -errno.
 */
int journal_open(int dir_fd, const char *id, uid_t uid, struct journal **ret);

/*
 * As journal_open() where the file system has no locks, and the caller knows that the one before is
 * gone.
 */
int journal_open_unlocked(int dir_fd, const char *id, uid_t uid, struct journal **ret);

/* Reads a journal without taking it. Returns as journal_open(), but for the locks. */
int journal_peek(int dir_fd, const char *id, uid_t uid, struct journal_notes *ret);

/* Whether a file's name is a journal's. @ret_id_size  bytes of the id, from @name + 1 on */
bool journal_is_name(const char *name, size_t *ret_id_size);

/* The user that the journal belongs to (find_own_uid()). */
uid_t journal_uid(const struct journal *journal);

/*
 * One note each; any thread may note. Nothing is written where the same is noted already, so that
 * asking twice costs nothing.
 *
 * Return 0, -EINVAL (no such text can be noted), -EFBIG or -errno; then the journal is as before.
 */
int journal_note_destination(struct journal *journal, const char *destination);
int journal_note_crash(struct journal *journal, const struct journal_crash *crash);
int journal_note_core(struct journal *journal, const char *path);
int journal_note_core_stays(struct journal *journal);
int journal_note_upload(struct journal *journal, enum artifact_kind kind, const char *upload_id);
int journal_note_sent(struct journal *journal, enum artifact_kind kind, uint64_t size,
                      const char *sha256);
int journal_note_unverified(struct journal *journal, enum artifact_kind kind);
int journal_note_anew(struct journal *journal, enum artifact_kind kind);
int journal_note_sent_all(struct journal *journal);

/* What is noted by now. Any thread may ask. */
void journal_noted(struct journal *journal, struct journal_notes *ret);

/* Removes the file, if the name still means it. The journal has to be closed as well. */
void journal_remove(struct journal *journal);

/* Unlocks and frees; NULL is fine. */
void journal_close(struct journal *journal);
