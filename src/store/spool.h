#pragma once

/*
 * The spool: cores_dir, flat. An artifact is written as NAME.part, flushed (fsync(2)) and renamed,
 * so a name without .part is a whole file. Everything is 0600; a directory that the spool makes is
 * 0700. The directory may be world-writable: nothing in it is followed or overwritten.
 *
 * Several coreinits may share one. Each bundle has a journal (journal.h), locked by whoever works
 * on the bundle. One that is locked, or that goes to another destination, is left alone: it is
 * neither sent nor removed.
 *
 * A spool holds one bundle at a time: claimed (new) or adopted (left by someone else). Notes,
 * spool_noted(), spool_read() and spool_sink_reader() may be called from any thread meanwhile; the
 * rest belongs to one.
 *
 * Nothing here logs but spool_make_room(): a full or read-only spool is no error to a caller who
 * has another place.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "bundle/name.h"
#include "bundle/sink.h"
#include "store/journal.h"

struct spool;

/*
 * Opens a spool directory, making it (and nothing above it) where it is missing.
 *
 * Returns 0, -ENOENT (its parent is missing), -EROFS, -EACCES, -ENOTDIR, -ELOOP (the directory
 * itself is a symbolic link), or -errno.
 */
int spool_open(const char *path, struct spool **ret);

/*
 * Where this process sends its bundles: s3://BUCKET/KEY_PREFIX. It is noted in the journal of what
 * is claimed or adopted from now on, and decides what may be adopted or removed. Without this call,
 * or with an empty @bucket: nowhere.
 *
 * Returns 0 or -ENAMETOOLONG.
 */
int spool_set_destination(struct spool *spool, const char *bucket, const char *key_prefix);

/* Which crash the next claim is of: noted in its journal, so that spool_adopt_crash() finds it. */
void spool_set_crash(struct spool *spool, const struct journal_crash *crash);

/*
 * Takes a bundle id for this process: makes its journal, locked, and ID.crash.json.part, both
 * exclusively, so that two collectors never share one.
 *
 * Returns 0, -EEXIST (taken, or something of that bundle is there: try the next ordinal), -EBUSY
 * (this spool holds a bundle), -ENAMETOOLONG, -EINVAL (no file name), -ENOSPC or -errno.
 */
int spool_claim(struct spool *spool, const char *id);

/*
 * Takes over a bundle that another left. A bundle without a journal (an older version's, or one
 * that was copied here) gets one.
 *
 * The committed artifacts may be read, and replaced by committing anew; a .part that was left may
 * be read under that name, until spool_sink() or spool_remove_parts() removes it.
 *
 * Returns 0, -ENOENT (there is no such bundle), -EBUSY (somebody works on it, or this spool holds a
 * bundle), -EPERM (it goes to another destination, or its crash.json or journal isn't our user's
 * own), or as journal_open().
 */
int spool_adopt(struct spool *spool, const char *id);

/*
 * Takes over the bundle of a crash whose collector died: the caller knows that it did, so this
 * works where the file system has no locks too.
 *
 * @ret_id  NAME_MAX + 1 bytes
 *
 * Returns 0, -ENOENT (it made none), or as spool_adopt().
 */
int spool_adopt_crash(struct spool *spool, const struct journal_crash *crash, char *ret_id);

/*
 * Notes about the bundle that is held. A commit of an artifact that was sent notes by itself that
 * what was sent is old (spool_noted(): is_sent is false again).
 *
 * Return 0, -ENOENT (none is held) or as journal.h says. The bundle isn't worth less for a note
 * that could not be written: at worst something is sent once more, to the same name.
 */
int spool_note_core(struct spool *spool, const char *path);
int spool_note_core_stays(struct spool *spool);
int spool_note_upload(struct spool *spool, enum artifact_kind kind, const char *upload_id);
int spool_note_sent(struct spool *spool, enum artifact_kind kind, uint64_t size,
                    const char *sha256);
int spool_note_sent_all(struct spool *spool);

/* The one of them that must not fail, before the artifact is noted as sent: what couldn't be
 * compared in the bucket has to stay. */
int spool_note_unverified(struct spool *spool, enum artifact_kind kind);

/* Whether all of the held bundle that was sent was compared: journal_is_verified(). */
bool spool_is_verified(struct spool *spool);

/* What is noted about the bundle that is held; nothing where none is. */
void spool_noted(struct spool *spool, struct journal_notes *ret);

/*
 * Lets go the bundle that is held: removes the claim's .part unless a sink has taken it over, and
 * the journal where nothing else is left of the bundle. All else stays for whoever adopts it.
 */
void spool_release(struct spool *spool, const char *id);

/* Removes the .part files of the bundle that is held, which nobody is going to end. */
void spool_remove_parts(struct spool *spool);

/*
 * Removes what another process, to which this one left the claim of @id, had not finished: the
 * .part files, and the bundle's artifacts unless its crash.json says that they are whole.
 *
 * Returns whether they are.
 */
bool spool_abandon(struct spool *spool, const char *id);

/*
 * Removes a bundle: the one that is held, which is let go then, or another one that nobody works
 * on. Files that aren't our user's own stay.
 *
 * Returns 0, or as spool_adopt().
 */
int spool_remove(struct spool *spool, const char *id);

/*
 * A sink that writes artifact @name; the spool must outlive it. The claimed id's first crash.json
 * is written into the claim's own .part; for every other name a .part that is there already is
 * refused, unless it is one that an adopted bundle's former owner left.
 *
 * Committing never replaces a file, but for one that this process, or the former owner of an
 * adopted bundle, committed under that name before (gdb's stack trace takes the place of libdw's).
 * It returns -EEXIST where the name is taken, -ESTALE where the .part is no longer our file, and
 * the error of a write that failed earlier.
 * Closing without commit removes the .part.
 *
 * Returns 0, -EEXIST (the .part is there), -EINVAL or -ENAMETOOLONG (no usable file name) or
 * -errno; writing returns -ENOSPC also for a used-up quota.
 */
int spool_sink(struct spool *spool, const char *name, struct sink **ret);

/*
 * Opens for reading what a spool_sink() writes: what was written is there at once, and stays there
 * when the sink is closed, be it without commit.
 *
 * Returns a descriptor (use pread(2)), or -errno.
 */
int spool_sink_reader(struct sink *sink);

/*
 * Takes back what a write left that failed for want of room, so that it may be tried again. Returns
 * 0, or -errno: the sink's error where it was another one.
 */
int spool_sink_undo(struct sink *sink);

/* Closing will leave the .part for whoever adopts the bundle. */
void spool_sink_keep(struct sink *sink);

/*
 * Opens a committed artifact, or a .part by that name, for reading.
 *
 * Returns a descriptor, -ELOOP (a symbolic link), -EPERM (no regular file with one link, or not our
 * user's) or -errno.
 */
int spool_read(struct spool *spool, const char *name, uint64_t *ret_size);

/* A bundle as spool_list() finds it. */
struct spool_bundle {
    char id[NAME_MAX + 1];
    struct journal_crash crash; /* as noted, else its pid is 0 */
    int error;        /* why its journal can't be read (journal_peek()); -ENOENT: it has none */
    bool is_ours;     /* it goes to our destination, or none was noted */
    bool is_complete; /* crash.json is committed */
    bool is_sent;     /* all of it */
    bool is_verified; /* and compared in the bucket */
    bool is_held;     /* by this very spool; whether by another only spool_adopt() tells */
    uint32_t n_files; /* committed artifacts */
    uint32_t n_parts; /* .part files */
    uint64_t bytes;   /* of both */
    time_t when;      /* the newest of them was written */
};

struct spool_list {
    struct spool_bundle *bundles; /* the oldest first */
    size_t n;
    bool is_cut; /* there is too much in the directory to look at all of it */
};

/*
 * All bundles: what has a journal or a crash.json. Only our user's own regular files with one link
 * count. A directory in which anyone may put anything is read up to 100,000 names and 20,000 files
 * of bundles, for 10 seconds at most.
 *
 * Returns 0 (spool_list_free() is due) or -errno.
 */
int spool_list(struct spool *spool, struct spool_list *ret);

void spool_list_free(struct spool_list *list);

/* What the spool may take. 0: no limit. */
struct spool_policy {
    uint64_t max_use;   /* bytes of all bundles */
    uint64_t keep_free; /* bytes that stay free on the file system */
    uint32_t max_files; /* artifacts of all bundles */
};

/*
 * Removes bundles until the limits hold, and @needed more bytes fit (0: none are asked for): the
 * oldest that were sent first; where no limit is set, only if that makes the room that is needed.
 * Unsent ones only where a limit is set and that is not enough, the oldest first, each with a
 * warning: for @needed and keep_free only if that makes the room. Never the newest bundle unless it
 * was sent, nor one that is held, by whomever, or that goes to another destination. Journals whose
 * bundle is gone are removed too.
 *
 * Returns 0, -ENOSPC (as far as this can, there is no room: logged where a limit is set) or -errno.
 */
int spool_make_room(struct spool *spool, const struct spool_policy *policy, uint64_t needed);

/* Frees the spool and lets go what it holds, as spool_release(); NULL is fine. */
void spool_close(struct spool *spool);
