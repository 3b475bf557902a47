#include "store/journal_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One part of a line, up to the next blank. */
#define WORD 256

/* The words of a line, one after the other. */
struct words {
    const char *at;
};

/* Cuts the next word off; "" where there is none or it is too long. */
static const char *next_word(struct words *words, char ret[WORD])
{
    const size_t length = strcspn(words->at, " ");

    ret[0] = '\0';
    if (length < WORD) {
        memcpy(ret, words->at, length);
        ret[length] = '\0';
    }
    words->at += length + (words->at[length] == ' ');
    return ret;
}

/* Decimal digits alone, no more than @most. */
static bool read_number(const char *text, const char *end, uint64_t most, uint64_t *ret)
{
    uint64_t number = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        const unsigned digit = (unsigned)(*text - '0');

        if (digit > 9 || number > (most - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret = number;
    return true;
}

static bool take_number(struct words *words, uint64_t most, uint64_t *ret)
{
    char word[WORD];

    next_word(words, word);
    return read_number(word, word + strlen(word), most, ret);
}

/* "12.345678901" */
static bool take_time(struct words *words, struct timespec *ret)
{
    uint64_t seconds, nanoseconds;
    char word[WORD];
    const char *dot = strchr(next_word(words, word), '.');

    if (!dot || strlen(dot + 1) != 9 || !read_number(word, dot, INT64_MAX, &seconds) ||
        !read_number(dot + 1, dot + 10, UINT64_MAX, &nanoseconds))
        return false;
    *ret = (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)nanoseconds};
    return true;
}

static struct journal_artifact *take_artifact(struct words *words, struct journal_notes *notes)
{
    char word[WORD];

    next_word(words, word);
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++)
        if (strcmp(word, artifact_suffixes[kind]) == 0)
            return &notes->artifacts[kind];
    return NULL;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *found = c ? strchr(digits, c) : NULL;

    return found ? (int)(found - digits) : -1;
}

/* The rest of the line, decoded. The field stays as it is where that doesn't fit or has a NUL. */
static void take_text(struct words *words, char *ret, size_t size)
{
    char text[PATH_MAX];
    size_t n = 0;

    for (const char *at = words->at; *at; at++) {
        char c = *at;

        if (c == '%') {
            const int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);

            if (low < 0)
                return;
            c = (char)(high << 4 | low);
            at += 2;
        }
        if (c == '\0' || n + 1 >= size || n + 1 >= sizeof(text))
            return;
        text[n++] = c;
    }
    if (n > 0) {
        memset(ret, 0, size);
        memcpy(ret, text, n);
    }
}

bool journal_is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static void apply_destination(struct words *words, struct journal_notes *notes)
{
    take_text(words, notes->destination, sizeof(notes->destination));
}

static void apply_crash(struct words *words, struct journal_notes *notes)
{
    struct timespec realtime, boottime;
    uint64_t pid;

    if (!take_number(words, INT_MAX, &pid) || !take_time(words, &realtime) ||
        !take_time(words, &boottime))
        return;
    notes->crash.pid = (pid_t)pid;
    notes->crash.realtime = realtime;
    notes->crash.boottime = boottime;
}

static void apply_core(struct words *words, struct journal_notes *notes)
{
    take_text(words, notes->core, sizeof(notes->core));
}

static void apply_core_stays(struct words *words, struct journal_notes *notes)
{
    (void)words;
    notes->core_stays = true;
}

static void apply_upload(struct words *words, struct journal_notes *notes)
{
    struct journal_artifact *artifact = take_artifact(words, notes);

    if (artifact)
        take_text(words, artifact->upload_id, sizeof(artifact->upload_id));
}

static void apply_sent(struct words *words, struct journal_notes *notes)
{
    struct journal_artifact *artifact = take_artifact(words, notes);
    char sha256[WORD];
    uint64_t size;

    if (!artifact || !take_number(words, UINT64_MAX, &size) ||
        !journal_is_sha256(next_word(words, sha256)))
        return;
    artifact->is_sent = true;
    artifact->size = size;
    memcpy(artifact->sha256, sha256, sizeof(artifact->sha256));
}

static void apply_anew(struct words *words, struct journal_notes *notes)
{
    struct journal_artifact *artifact = take_artifact(words, notes);

    if (artifact)
        artifact->is_sent = artifact->is_unverified = notes->is_sent = false;
}

static void apply_unverified(struct words *words, struct journal_notes *notes)
{
    struct journal_artifact *artifact = take_artifact(words, notes);

    if (artifact)
        artifact->is_unverified = true;
}

static void apply_sent_all(struct words *words, struct journal_notes *notes)
{
    (void)words;
    notes->is_sent = true;
}

static const struct {
    const char *key;
    void (*apply)(struct words *words, struct journal_notes *notes);
} kinds[] = {
    {"destination", apply_destination},
    {"crash", apply_crash},
    {"core", apply_core},
    {"core-stays", apply_core_stays},
    {"upload", apply_upload},
    {"sent", apply_sent},
    {"anew", apply_anew},
    {"sent-all", apply_sent_all},
    {"unverified", apply_unverified},
};

void journal_apply(const char *line, struct journal_notes *notes)
{
    struct words words = {.at = line};
    char key[WORD];

    next_word(&words, key);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(key, kinds[i].key) == 0)
            kinds[i].apply(&words, notes);
}

ssize_t journal_parse(const char *text, size_t size, struct journal_notes *ret)
{
    const size_t header = strlen(JOURNAL_HEADER);
    char line[JOURNAL_LINE];
    size_t at = header;

    memset(ret, 0, sizeof(*ret));
    if (memcmp(text, JOURNAL_HEADER, size < header ? size : header) != 0)
        return -EBADMSG;
    if (size < header)
        return 0;
    while (at < size) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - (text + at)) : 0;

        if (!end)
            break;
        if (length < sizeof(line) && !memchr(text + at, '\0', length)) {
            memcpy(line, text + at, length);
            line[length] = '\0';
            journal_apply(line, ret);
        }
        at += length + 1;
    }
    return (ssize_t)at;
}

bool journal_is_verified(const struct journal_notes *notes)
{
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++)
        if (notes->artifacts[kind].is_unverified)
            return false;
    return true;
}

int journal_encode(const char *text, char *ret, size_t size)
{
    size_t n = 0;

    if (!text[0])
        return -EINVAL;
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        const bool is_plain = c > ' ' && c < 0x7f && c != '%';

        if (n + 4 > size)
            return -EINVAL;
        n += (size_t)snprintf(ret + n, size - n, is_plain ? "%c" : "%%%02X", c);
    }
    return 0;
}
