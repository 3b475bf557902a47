/* A bundle's journal, in a directory where anyone may have put it. */

#include <string.h>

#include "store/journal_text.h"
#include "util/cleanup.h"

#include "fuzz.h"

static void check(const struct journal_notes *notes)
{
    fuzz_expect(strlen(notes->destination) < sizeof(notes->destination));
    fuzz_expect(strlen(notes->core) < sizeof(notes->core));
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        const struct journal_artifact *artifact = &notes->artifacts[kind];

        fuzz_expect(strlen(artifact->upload_id) < sizeof(artifact->upload_id));
        fuzz_expect(!artifact->is_sent || journal_is_sha256(artifact->sha256));
    }
}

static void parse_journal(const char *data, size_t size)
{
    static struct journal_notes notes, cut;
    ssize_t used = journal_parse(data, size, &notes);

    if (used < 0)
        return;
    fuzz_expect((size_t)used <= size);
    check(&notes);
    /* A torn last line counts for nothing. */
    fuzz_expect(journal_parse(data, (size_t)used, &cut) == used);
    fuzz_expect(memcmp(&notes, &cut, sizeof(notes)) == 0);
}

/* What is encoded comes back as it was. */
static void encode(const char *data, size_t size)
{
    static struct journal_notes notes;
    _cleanup_free_ char *text = fuzz_whole(data, size);
    static char line[JOURNAL_LINE] = "core ";

    if (journal_encode(text, line + 5, sizeof(line) - 5) < 0)
        return;
    memset(&notes, 0, sizeof(notes));
    journal_apply(line, &notes);
    fuzz_expect(strlen(text) >= sizeof(notes.core) || strcmp(notes.core, text) == 0);
}

static fuzz_parser *const parsers[] = {parse_journal, encode};
FUZZ_TARGET(parsers)
