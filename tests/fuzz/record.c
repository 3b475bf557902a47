/*
 * A crash's record, and what the collector makes of the texts in it: the program chose some of
 * them, and procfs may have been cut anywhere.
 */

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "bundle/crash_json.h"
#include "capture/crash_facts.h"
#include "ctl/record.h"
#include "util/cleanup.h"

#include "fuzz.h"

struct text_sink {
    struct sink sink;
    char *text;
    size_t size;
};

static int keep(struct sink *sink, const void *data, size_t size)
{
    struct text_sink *text = (struct text_sink *)sink;

    text->text = realloc(text->text, text->size + size);
    fuzz_expect(text->text != NULL);
    memcpy(text->text + text->size, data, size);
    text->size += size;
    return 0;
}

static void forget(struct sink *sink)
{
    free(((struct text_sink *)sink)->text);
}

/* crash.json is JSON whatever the bundle holds. */
static void tell(const struct bundle *bundle)
{
    static const struct sink_ops ops = {.write = keep, .close = forget};
    struct text_sink text = {0};
    json_t *json;

    fuzz_expect(sink_init(&text.sink, &ops) == 0);
    fuzz_expect(crash_json_write(bundle, true, &text.sink) == 0);
    json = json_loadb(text.text, text.size, JSON_REJECT_DUPLICATES, NULL);
    fuzz_expect(json != NULL);
    json_decref(json);
    sink_close(&text.sink);
}

static void understand(const struct crash_record *record)
{
    struct bundle bundle = {.record = record, .capture_source = "none"};
    struct crash_facts facts = crash_facts_of(record);

    (void)crash_facts_in_group(&facts, record, 42);
    tell(&bundle);
}

/* Descriptors would be this process's own. */
static void take_descriptors(struct crash_record *record)
{
    record->exe_fd = record->root_fd = record->maps_fd = -1;
    record->mem_fd = record->smaps_fd = record->pagemap_fd = -1;
    record->threads_fd = record->release_fd = -1;
}

/* Any bytes behind a right beginning, so that more than that is tried. */
static void parse_record(const char *data, size_t size)
{
    static struct crash_record image, record;
    _cleanup_close_ int fd = -1;

    memset(&image, 0, sizeof(image));
    memcpy(&image, data, size < sizeof(image) ? size : sizeof(image));
    image.magic = CRASH_RECORD_MAGIC;
    image.version = CRASH_RECORD_VERSION;
    image.size = sizeof(image);
    take_descriptors(&image);
    fd = fuzz_file(&image, sizeof(image));
    fuzz_expect(record_read(fd, &record) == 0);
    record_doubt_witness(&record, NULL);
    understand(&record);
}

/* One that is no record, or cut. */
static void parse_garbage(const char *data, size_t size)
{
    static struct crash_record record;
    _cleanup_close_ int fd = fuzz_file(data, size);

    fuzz_expect(size == sizeof(record) || record_read(fd, &record) < 0);
}

/* The end, as two numbers, and the texts. */
static void parse_texts(const char *data, size_t size)
{
    static struct crash_record record;
    struct fuzz_texts texts = {data, size};
    char number[16];

    memset(&record, 0, sizeof(record));
    take_descriptors(&record);
    record.pid = record.witness_pid = 7;
    record.wait_code = atoi(fuzz_text(&texts, number, sizeof(number)));
    record.wait_status = atoi(fuzz_text(&texts, number, sizeof(number)));
#define TEXT(field) fuzz_text(&texts, record.field, sizeof(record.field))
    TEXT(stat);
    TEXT(status);
    TEXT(limits);
    TEXT(witness_stat);
    TEXT(memory_events[0]);
    TEXT(memory_events[1]);
    TEXT(exe);
    TEXT(cwd);
    TEXT(capture_why);
#undef TEXT
    record.cmdline_size =
        (uint32_t)(texts.left < sizeof(record.cmdline) ? texts.left : sizeof(record.cmdline));
    memcpy(record.cmdline, texts.at, record.cmdline_size);
    record_doubt_witness(&record, NULL);
    understand(&record);
}

static fuzz_parser *const parsers[] = {parse_record, parse_garbage, parse_texts};
FUZZ_TARGET(parsers)
