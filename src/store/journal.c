#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store/spool_files.h"
#include "util/cleanup.h"
#include "util/io.h"

#define JOURNAL_PREFIX "."
#define JOURNAL_SUFFIX ".journal"

struct journal {
    pthread_mutex_t mutex; /* over all below */
    int dir_fd;            /* the spool's */
    int fd;
    uid_t uid;
    file_name name;
    off_t size; /* whole lines */
    struct journal_notes notes;
};

static int lock(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return -EBUSY;
    return errno == ENOSYS || errno == EOPNOTSUPP ? -ENOLCK : -errno;
}

/* Appends whole lines, or nothing: the next one must not become part of half a line. */
static int append(struct journal *journal, const char *text)
{
    const size_t size = strlen(text);
    int r = journal->size + (off_t)size > JOURNAL_MOST_BYTES ? -EFBIG : 0;

    if (r == 0)
        r = write_all(journal->fd, text, size);
    if (r == 0)
        r = flush_file(journal->fd);
    if (r == 0)
        journal->size += (off_t)size;
    else if (ftruncate(journal->fd, journal->size) < 0)
        journal->size = JOURNAL_MOST_BYTES; /* nothing more can be noted */
    return r;
}

static int new_journal(int dir_fd, const char *name, struct journal **ret)
{
    struct journal *journal = calloc(1, sizeof(*journal));

    if (!journal)
        return -ENOMEM;
    pthread_mutex_init(&journal->mutex, NULL);
    journal->dir_fd = dir_fd;
    journal->fd = -1;
    memcpy(journal->name, name, sizeof(journal->name));
    *ret = journal;
    return 0;
}

static void cleanup_journal(struct journal **journal)
{
    journal_close(*journal);
}

/* In between somebody may have locked or removed what we made, to see that nothing is there yet. */
static int take_new(struct journal *journal)
{
    struct stat file;
    int r = lock(journal->fd);

    if (r < 0 && r != -ENOLCK)
        return r == -EBUSY ? -EEXIST : r;
    if (!means_fd(journal->dir_fd, journal->name, journal->fd))
        return -EEXIST;
    if (fstat(journal->fd, &file) < 0)
        return -errno;
    journal->uid = file.st_uid;
    r = append(journal, JOURNAL_HEADER);
    if (r == 0)
        r = flush_file(journal->dir_fd);
    if (r < 0)
        journal_remove(journal);
    return r;
}

int journal_create(int dir_fd, const char *id, struct journal **ret)
{
    _cleanup_(cleanup_journal) struct journal *journal = NULL;
    file_name name;
    int r = make_name(JOURNAL_PREFIX, id, JOURNAL_SUFFIX, name);

    if (r == 0)
        r = new_journal(dir_fd, name, &journal);
    if (r < 0)
        return r;
    journal->fd = create_file(dir_fd, name, O_APPEND);
    r = journal->fd < 0 ? journal->fd : take_new(journal);
    if (r < 0)
        return r;
    *ret = take_ptr(journal);
    return 0;
}

/* Returns the bytes of whole lines, or -errno. */
static ssize_t read_notes(int fd, off_t size, struct journal_notes *ret)
{
    _cleanup_free_ char *text = NULL;
    ssize_t n;

    if (size > JOURNAL_MOST_BYTES)
        return -EFBIG;
    text = malloc((size_t)size + 1);
    if (!text)
        return -ENOMEM;
    n = pread_full(fd, text, (size_t)size, 0);
    return n < 0 ? n : journal_parse(text, (size_t)n, ret);
}

static int take_over(struct journal *journal, uid_t uid, bool needs_lock)
{
    struct stat file;
    ssize_t size;
    int r;

    journal->fd = open_own_file(journal->dir_fd, journal->name, O_RDWR | O_APPEND, uid, &file);
    if (journal->fd < 0)
        return journal->fd;
    r = lock(journal->fd);
    if (r < 0 && (r != -ENOLCK || needs_lock))
        return r;
    /* The one before may have noted something, or removed it, until we had the lock. */
    if (fstat(journal->fd, &file) < 0)
        return -errno;
    if (!means_file(journal->dir_fd, journal->name, file.st_dev, file.st_ino))
        return -ENOENT;
    size = read_notes(journal->fd, file.st_size, &journal->notes);
    if (size < 0)
        return (int)size;
    if (size != file.st_size && ftruncate(journal->fd, size) < 0)
        return -errno;
    journal->uid = uid;
    journal->size = size;
    return size == 0 ? append(journal, JOURNAL_HEADER) : 0;
}

static int open_journal(int dir_fd, const char *id, uid_t uid, bool needs_lock,
                        struct journal **ret)
{
    _cleanup_(cleanup_journal) struct journal *journal = NULL;
    file_name name;
    int r = make_name(JOURNAL_PREFIX, id, JOURNAL_SUFFIX, name);

    if (r == 0)
        r = new_journal(dir_fd, name, &journal);
    if (r == 0)
        r = take_over(journal, uid, needs_lock);
    if (r < 0)
        return r;
    *ret = take_ptr(journal);
    return 0;
}

int journal_open(int dir_fd, const char *id, uid_t uid, struct journal **ret)
{
    return open_journal(dir_fd, id, uid, true, ret);
}

int journal_open_unlocked(int dir_fd, const char *id, uid_t uid, struct journal **ret)
{
    return open_journal(dir_fd, id, uid, false, ret);
}

int journal_peek(int dir_fd, const char *id, uid_t uid, struct journal_notes *ret)
{
    _cleanup_close_ int fd = -1;
    struct stat file;
    file_name name;
    ssize_t n;
    int r = make_name(JOURNAL_PREFIX, id, JOURNAL_SUFFIX, name);

    if (r < 0)
        return r;
    fd = open_own_file(dir_fd, name, O_RDONLY, uid, &file);
    if (fd < 0)
        return fd;
    n = read_notes(fd, file.st_size, ret);
    return n < 0 ? (int)n : 0;
}

bool journal_is_name(const char *name, size_t *ret_id_size)
{
    const size_t prefix = strlen(JOURNAL_PREFIX), suffix = strlen(JOURNAL_SUFFIX);
    const size_t length = strlen(name);

    if (length <= prefix + suffix || strncmp(name, JOURNAL_PREFIX, prefix) != 0 ||
        strcmp(name + length - suffix, JOURNAL_SUFFIX) != 0)
        return false;
    *ret_id_size = length - prefix - suffix;
    return true;
}

uid_t journal_uid(const struct journal *journal)
{
    return journal->uid;
}

/* Writes a line unless it tells nothing new. What it tells is what reading it back would tell. */
__attribute__((format(printf, 2, 3))) static int note(struct journal *journal, const char *format,
                                                      ...)
{
    struct journal_notes *before = &journal->notes, after;
    char line[JOURNAL_LINE];
    va_list arguments;
    int r = 0;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);

    pthread_mutex_lock(&journal->mutex);
    memcpy(&after, before, sizeof(after));
    journal_apply(line, &after);
    if (memcmp(&after, before, sizeof(after)) != 0) {
        strcat(line, "\n");
        r = append(journal, line);
        if (r == 0)
            memcpy(before, &after, sizeof(after));
    }
    pthread_mutex_unlock(&journal->mutex);
    return r;
}

static int note_text(struct journal *journal, const char *key, const char *text, size_t most)
{
    char encoded[3 * PATH_MAX];
    int r = strlen(text) < most ? journal_encode(text, encoded, sizeof(encoded)) : -EINVAL;

    return r < 0 ? r : note(journal, "%s %s", key, encoded);
}

int journal_note_destination(struct journal *journal, const char *destination)
{
    return note_text(journal, "destination", destination, sizeof(journal->notes.destination));
}

int journal_note_crash(struct journal *journal, const struct journal_crash *crash)
{
    return note(journal, "crash %d %" PRId64 ".%09ld %" PRId64 ".%09ld", crash->pid,
                (int64_t)crash->realtime.tv_sec, crash->realtime.tv_nsec,
                (int64_t)crash->boottime.tv_sec, crash->boottime.tv_nsec);
}

int journal_note_core(struct journal *journal, const char *path)
{
    return note_text(journal, "core", path, sizeof(journal->notes.core));
}

int journal_note_core_stays(struct journal *journal)
{
    return note(journal, "core-stays");
}

int journal_note_upload(struct journal *journal, enum artifact_kind kind, const char *upload_id)
{
    char key[32];

    snprintf(key, sizeof(key), "upload %s", artifact_suffixes[kind]);
    return note_text(journal, key, upload_id, sizeof(journal->notes.artifacts[kind].upload_id));
}

int journal_note_sent(struct journal *journal, enum artifact_kind kind, uint64_t size,
                      const char *sha256)
{
    if (!journal_is_sha256(sha256))
        return -EINVAL;
    return note(journal, "sent %s %" PRIu64 " %s", artifact_suffixes[kind], size, sha256);
}

int journal_note_unverified(struct journal *journal, enum artifact_kind kind)
{
    return note(journal, "unverified %s", artifact_suffixes[kind]);
}

int journal_note_anew(struct journal *journal, enum artifact_kind kind)
{
    return note(journal, "anew %s", artifact_suffixes[kind]);
}

int journal_note_sent_all(struct journal *journal)
{
    return note(journal, "sent-all");
}

void journal_noted(struct journal *journal, struct journal_notes *ret)
{
    pthread_mutex_lock(&journal->mutex);
    memcpy(ret, &journal->notes, sizeof(*ret));
    pthread_mutex_unlock(&journal->mutex);
}

void journal_remove(struct journal *journal)
{
    remove_file(journal->dir_fd, journal->name, journal->fd);
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        (void)flock(journal->fd, LOCK_UN);
    close_fd(journal->fd);
    pthread_mutex_destroy(&journal->mutex);
    free(journal);
}
