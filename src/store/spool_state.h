#pragma once

/* What the spool's own files share. Internal to the spool. */

#include "store/journal.h"
#include "store/spool.h"
#include "store/spool_files.h"

/* A committed file that we may replace. */
struct written {
    file_name name;
    dev_t device;
    ino_t inode;
};

struct spool {
    int dir_fd;
    bool knows_uid;
    uid_t uid; /* whom our files belong to here */
    char destination[sizeof(((struct journal_notes *)0)->destination)]; /* "": none */
    struct journal_crash crash;                                         /* the next claim's */

    /* The bundle that is held. */
    file_name id;            /* "" where none is */
    struct journal *journal; /* its */
    bool is_adopted;
    int claim_fd;                           /* ID.crash.json.part, until a sink takes it over */
    struct written written[ARTIFACT_KINDS]; /* the committed artifacts */
    size_t n_written;
};

/* find_own_uid(), once. */
uid_t spool_uid(struct spool *spool);

/* The name of one of a bundle's artifacts. Returns as make_name(). */
int spool_artifact(const char *id, enum artifact_kind kind, file_name ret);

/* Which artifact of the bundle that is held has that name; -1: none has. */
int spool_held_kind(const struct spool *spool, const char *name);

/* What this process may replace under a name, or NULL. */
struct written *spool_find_written(struct spool *spool, const char *name);

/* Remembers what is committed now. A bundle has no more names than there are kinds of artifacts. */
void spool_note_written(struct spool *spool, const char *name, const struct stat *file);

/* Whether a bundle with these notes may be sent or removed by this process. */
bool spool_is_ours(const struct spool *spool, const struct journal_notes *notes);
