#define ZLIB_CONST /* next_in is const */
#include "bundle/zip.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zlib.h>

#include "bundle/utf8.h"
#include "util/cleanup.h"

/*
 * How a local header announces ZIP64, with sizes that are known only afterwards.
 *
 * A reader that goes forward must know before the data descriptor comes whether its two sizes have
 * 4 or 8 bytes. APPNOTE 4.3.9.2 ties that to the ZIP64 extra field of the local header, and
 * libarchive, Info-ZIP and 7z go by it; older java.util.zip (until JDK-8303866) goes by whether the
 * data really passed 4 GiB. Both agree only if exactly the entries that pass 4 GiB are announced.
 * So the caller says how much will come at most (nearly always known: a file's or a core's size),
 * entries that stay well below are plain ZIP, which every reader takes, and the others, as those of
 * unknown size, get the extra field (zeros, to be overruled by the descriptor), sizes of 0xFFFFFFFF
 * and a descriptor with 8-byte sizes, whatever size they turn out to have.
 *
 * The central directory has the true sizes and an extra field only for what doesn't fit 32 bits.
 */
#define ZIP64_FROM 0xf0000000u /* deflate never adds the 6 % that are missing to 4 GiB */

#define LIMIT16 0xffffu /* the first value that doesn't fit: it says "see the ZIP64 record" */
#define LIMIT32 0xffffffffu

#define METHOD_STORED 0
#define METHOD_DEFLATE 8
#define FLAG_DESCRIPTOR (1u << 3)
#define FLAG_UTF8 (1u << 11)
#define VERSION_PLAIN 20
#define VERSION_ZIP64 45
#define MADE_BY (3u << 8 | 63) /* Unix: external attributes hold st_mode; APPNOTE 6.3 */
#define DOS_DIRECTORY 0x10u

#define EXTRA_ZIP64 0x0001
#define EXTRA_TIME 0x5455
#define EXTRA_TIME_SIZE 9

#define LOCAL_HEADER_SIZE 30
#define CENTRAL_HEADER_SIZE 46
#define MAX_EXTRA_SIZE (4 + 3 * 8 + EXTRA_TIME_SIZE)
#define END_RECORDS_SIZE (56 + 20 + 22)

#define OUT_SIZE (64 * 1024)
#define OUT_MARGIN 64 /* deflate wants more than 6 bytes of room at a flush */

/* A zero block covers this much. Twice as much would be 3 % smaller and leave twice the rest. */
#define ZEROS_SIZE (256u * 1024)

struct entry {
    char *name;
    mode_t mode;
    time_t mtime;
    uint16_t flags, method;
    bool zip64; /* announced in the local header */
    uint64_t offset;
    uint64_t size, compressed;
    uint32_t crc;
};

struct zip {
    struct sink *sink;
    int error; /* the first failure, -errno */

    uint8_t out[OUT_SIZE]; /* not yet passed to the sink */
    size_t used;
    uint64_t offset; /* of the archive's next byte, those in @out counted */

    struct entry entry; /* the open one: name != NULL */
    z_stream deflate;

    uint8_t *directory; /* central headers of the ended entries */
    size_t directory_size, directory_room;
    uint64_t n_entries;

    /* ZEROS_SIZE zeros, deflated on their own and ended at a byte boundary */
    uint8_t zeros[2048];
    size_t zeros_size;
    uint32_t zeros_crc, zeros_op;
};

static uint8_t *put16(uint8_t *at, uint64_t value)
{
    *at++ = value & 0xff;
    *at++ = value >> 8 & 0xff;
    return at;
}

static uint8_t *put32(uint8_t *at, uint64_t value)
{
    return put16(put16(at, value), value >> 16);
}

static uint8_t *put64(uint8_t *at, uint64_t value)
{
    return put32(put32(at, value), value >> 32);
}

static uint8_t *put_bytes(uint8_t *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static void drain(struct zip *zip)
{
    if (zip->error == 0 && zip->used > 0)
        zip->error = sink_write(zip->sink, zip->out, zip->used);
    zip->used = 0;
}

static void emit(struct zip *zip, const void *data, size_t size)
{
    const uint8_t *next = data;

    zip->offset += size;
    while (size > 0 && zip->error == 0) {
        size_t part = at_most(size, OUT_SIZE - zip->used);

        memcpy(zip->out + zip->used, next, part);
        zip->used += part;
        next += part;
        size -= part;
        if (zip->used == OUT_SIZE)
            drain(zip);
    }
}

/* MS-DOS time and date, 4.4.6: 1980 to 2107, even seconds. In UTC: nobody knows the reader's zone,
 * and most readers take EXTRA_TIME instead. */
static uint8_t *put_dos_time(uint8_t *at, time_t when)
{
    struct tm tm;

    if (!gmtime_r(&when, &tm) || tm.tm_year > 207)
        tm = (struct tm){.tm_year = 207, .tm_mon = 11, .tm_mday = 31};
    else if (tm.tm_year < 80)
        tm = (struct tm){.tm_year = 80, .tm_mon = 0, .tm_mday = 1};
    at = put16(at, (uint64_t)(tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2));
    return put16(at, (uint64_t)((tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday));
}

/* The extended timestamp of Info-ZIP's extrafld.txt: whole seconds, UTC. It has 32 bits, signed. */
static uint8_t *put_time_extra(uint8_t *at, time_t when)
{
    if (when < INT32_MIN || when > INT32_MAX)
        return at;
    at = put16(at, EXTRA_TIME);
    at = put16(at, EXTRA_TIME_SIZE - 4);
    *at++ = 1; /* the modification time is there, no other */
    return put32(at, (uint64_t)when);
}

/* The 26 bytes that local (4.3.7) and central (4.3.12) headers have in common. */
static uint8_t *put_common(uint8_t *at, const struct entry *entry, uint32_t crc,
                           uint64_t compressed, uint64_t size, size_t extra_size)
{
    bool zip64 = entry->zip64 || entry->offset >= LIMIT32;

    at = put16(at, zip64 ? VERSION_ZIP64 : VERSION_PLAIN);
    at = put16(at, entry->flags);
    at = put16(at, entry->method);
    at = put_dos_time(at, entry->mtime);
    at = put32(at, crc);
    at = put32(at, at_most(compressed, LIMIT32));
    at = put32(at, at_most(size, LIMIT32));
    at = put16(at, strlen(entry->name));
    return put16(at, extra_size);
}

static void emit_local_header(struct zip *zip)
{
    const struct entry *entry = &zip->entry;
    uint64_t announced = entry->zip64 ? LIMIT32 : 0;
    uint8_t header[LOCAL_HEADER_SIZE], extra[MAX_EXTRA_SIZE], *end = extra;

    if (entry->zip64)
        end = put64(put64(put16(put16(end, EXTRA_ZIP64), 16), 0), 0);
    end = put_time_extra(end, entry->mtime);
    put_common(put32(header, 0x04034b50), entry, 0, announced, announced, (size_t)(end - extra));
    emit(zip, header, sizeof(header));
    emit(zip, entry->name, strlen(entry->name));
    emit(zip, extra, (size_t)(end - extra));
}

static void emit_descriptor(struct zip *zip)
{
    const struct entry *entry = &zip->entry;
    uint8_t descriptor[24], *end = put32(put32(descriptor, 0x08074b50), entry->crc);

    if (entry->zip64)
        end = put64(put64(end, entry->compressed), entry->size);
    else
        end = put32(put32(end, entry->compressed), entry->size);
    emit(zip, descriptor, (size_t)(end - descriptor));
}

/* Adds the entry to the central directory; begin_entry() has made room. */
static void record_entry(struct zip *zip)
{
    const struct entry *entry = &zip->entry;
    const uint64_t fields[] = {entry->size, entry->compressed, entry->offset}; /* 4.5.3's order */
    uint64_t dos_attributes = S_ISDIR(entry->mode) ? DOS_DIRECTORY : 0;
    uint8_t extra[MAX_EXTRA_SIZE], *end = extra + 4, *at;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i] >= LIMIT32)
            end = put64(end, fields[i]);
    if (end > extra + 4)
        put16(put16(extra, EXTRA_ZIP64), (uint64_t)(end - extra - 4));
    else
        end = extra;
    end = put_time_extra(end, entry->mtime);

    at = put16(put32(zip->directory + zip->directory_size, 0x02014b50), MADE_BY);
    at = put_common(at, entry, entry->crc, entry->compressed, entry->size, (size_t)(end - extra));
    at = put16(at, 0); /* no comment */
    at = put16(at, 0); /* first disk */
    at = put16(at, 0); /* binary */
    at = put32(at, (uint64_t)entry->mode << 16 | dos_attributes);
    at = put32(at, at_most(entry->offset, LIMIT32));
    at = put_bytes(at, entry->name, strlen(entry->name));
    at = put_bytes(at, extra, (size_t)(end - extra));
    zip->directory_size = (size_t)(at - zip->directory);
    zip->n_entries++;
}

/* Runs the compressor over what it was given, into the archive. */
static void compress_input(struct zip *zip, int flush)
{
    z_stream *stream = &zip->deflate;

    do {
        if (zip->used > OUT_SIZE - OUT_MARGIN)
            drain(zip);
        if (zip->error != 0)
            return;
        stream->next_out = zip->out + zip->used;
        stream->avail_out = (uInt)(OUT_SIZE - zip->used);
        (void)deflate(stream, flush); /* Z_BUF_ERROR: there was nothing to do */

        size_t added = OUT_SIZE - zip->used - stream->avail_out;
        zip->used += added;
        zip->offset += added;
        zip->entry.compressed += added;
    } while (stream->avail_out == 0);
}

static const uint8_t zero_page[4096];

/*
 * Makes the block that zip_write_zeros() repeats. A full flush ends it at a byte boundary, and as
 * it was the first thing in its stream it refers to nothing before itself: it fits into any deflate
 * stream that stands at a byte boundary.
 */
static int make_zeros(struct zip *zip)
{
    z_stream stream = {.next_out = zip->zeros, .avail_out = sizeof(zip->zeros)};

    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_RLE) != Z_OK)
        return -ENOMEM;
    for (size_t left = ZEROS_SIZE; left > 0; left -= sizeof(zero_page)) {
        stream.next_in = zero_page;
        stream.avail_in = sizeof(zero_page);
        (void)deflate(&stream, left > sizeof(zero_page) ? Z_NO_FLUSH : Z_FULL_FLUSH);
        zip->zeros_crc = (uint32_t)crc32_z(zip->zeros_crc, zero_page, sizeof(zero_page));
    }
    zip->zeros_size = sizeof(zip->zeros) - stream.avail_out;
    zip->zeros_op = (uint32_t)crc32_combine_gen(ZEROS_SIZE);
    (void)deflateEnd(&stream);
    return 0;
}

int zip_open(struct sink *sink, int level, struct zip **ret)
{
    _cleanup_zip_ struct zip *zip = NULL;
    int r;

    if (level < 1 || level > 9)
        return -EINVAL;
    zip = calloc(1, sizeof(*zip));
    if (!zip)
        return -ENOMEM;
    zip->sink = sink;
    r = make_zeros(zip);
    if (r < 0)
        return r;
    r = deflateInit2(&zip->deflate, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    if (r != Z_OK)
        return -ENOMEM;
    *ret = take_ptr(zip);
    return 0;
}

/* An absolute name or one with ".." would make unpacking the archive a way out of its folder. */
static bool is_safe_name(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length >= LIMIT16 || name[0] == '/' || name[length - 1] == '/')
        return false;
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += part[0] == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return false;
    }
    return true;
}

/* Makes room for the entry's central header now, so that ending it can't fail for want of memory.
 */
static int reserve_directory(struct zip *zip, size_t name_size)
{
    size_t need = zip->directory_size + CENTRAL_HEADER_SIZE + name_size + MAX_EXTRA_SIZE;
    uint8_t *larger;

    if (need <= zip->directory_room)
        return 0;
    need *= 2;
    larger = realloc(zip->directory, need);
    if (!larger)
        return -ENOMEM;
    zip->directory = larger;
    zip->directory_room = need;
    return 0;
}

/* Takes over what is known of an entry, and writes its local header. */
static int begin_entry(struct zip *zip, const char *name, const char *suffix, struct entry entry)
{
    if (zip->error == 0 && (zip->entry.name || !is_safe_name(name)))
        return -EINVAL;
    if (zip->error == 0)
        zip->error = reserve_directory(zip, strlen(name) + strlen(suffix));
    if (zip->error == 0 && asprintf(&entry.name, "%s%s", name, suffix) < 0)
        zip->error = -ENOMEM;
    if (zip->error != 0)
        return zip->error;
    if (utf8_is_valid(name, strlen(name)))
        entry.flags |= FLAG_UTF8;
    entry.offset = zip->offset;
    zip->entry = entry;
    emit_local_header(zip);
    return zip->error;
}

static void end_entry(struct zip *zip)
{
    if (zip->error == 0)
        record_entry(zip);
    free(zip->entry.name);
    zip->entry.name = NULL;
}

int zip_entry_begin(struct zip *zip, const char *name, mode_t mode, time_t mtime, uint64_t max_size)
{
    return begin_entry(zip, name, "",
                       (struct entry){
                           .mode = mode,
                           .mtime = mtime,
                           .flags = FLAG_DESCRIPTOR,
                           .method = METHOD_DEFLATE,
                           .zip64 = max_size >= ZIP64_FROM,
                       });
}

/* Counts bytes to come. */
static void grow_entry(struct zip *zip, uint64_t size)
{
    zip->entry.size += size;
    if (zip->error == 0 && !zip->entry.zip64 && zip->entry.size >= LIMIT32)
        zip->error = -EFBIG;
}

int zip_write(struct zip *zip, const void *data, size_t size)
{
    const uint8_t *next = data;

    grow_entry(zip, size);
    while (size > 0 && zip->error == 0) {
        size_t part = at_most(size, 1u << 20); /* the checksum's turn while it is in the cache */

        zip->entry.crc = (uint32_t)crc32_z(zip->entry.crc, next, part);
        zip->deflate.next_in = next;
        zip->deflate.avail_in = (uInt)part;
        compress_input(zip, Z_NO_FLUSH);
        next += part;
        size -= part;
    }
    return zip->error;
}

int zip_write_zeros(struct zip *zip, uint64_t size)
{
    struct entry *entry = &zip->entry;

    if (size >= ZEROS_SIZE)
        compress_input(zip, Z_FULL_FLUSH); /* to a byte boundary */
    for (; size >= ZEROS_SIZE && zip->error == 0; size -= ZEROS_SIZE) {
        grow_entry(zip, ZEROS_SIZE);
        emit(zip, zip->zeros, zip->zeros_size);
        entry->compressed += zip->zeros_size;
        entry->crc = (uint32_t)crc32_combine_op(entry->crc, zip->zeros_crc, zip->zeros_op);
    }
    while (size > 0 && zip->error == 0) {
        size_t part = at_most(size, sizeof(zero_page));

        (void)zip_write(zip, zero_page, part);
        size -= part;
    }
    return zip->error;
}

int zip_entry_end(struct zip *zip)
{
    compress_input(zip, Z_FINISH);
    (void)deflateReset(&zip->deflate);
    if (zip->error == 0 && !zip->entry.zip64 && zip->entry.compressed >= LIMIT32)
        zip->error = -EFBIG;
    emit_descriptor(zip);
    end_entry(zip);
    return zip->error;
}

int zip_add_directory(struct zip *zip, const char *name, mode_t mode, time_t mtime)
{
    int r = begin_entry(zip, name, "/",
                        (struct entry){.mode = mode, .mtime = mtime, .method = METHOD_STORED});

    if (r == 0)
        end_entry(zip);
    return r;
}

int zip_finish(struct zip *zip)
{
    uint64_t start = zip->offset, size = zip->directory_size, n = zip->n_entries;
    uint8_t records[END_RECORDS_SIZE], *at = records;

    emit(zip, zip->directory, zip->directory_size);
    if (n >= LIMIT16 || size >= LIMIT32 || start >= LIMIT32) {
        at = put64(put32(at, 0x06064b50), 44); /* 4.3.14, without what follows the size itself */
        at = put16(put16(at, MADE_BY), VERSION_ZIP64);
        at = put32(put32(at, 0), 0); /* this disk, the directory's disk */
        at = put64(put64(at, n), n);
        at = put64(put64(at, size), start);
        at = put32(put32(at, 0x07064b50), 0); /* 4.3.15, the locator */
        at = put32(put64(at, start + size), 1);
    }
    at = put32(at, 0x06054b50); /* 4.3.16 */
    at = put16(put16(at, 0), 0);
    at = put16(put16(at, at_most(n, LIMIT16)), at_most(n, LIMIT16));
    at = put32(put32(at, at_most(size, LIMIT32)), at_most(start, LIMIT32));
    at = put16(at, 0); /* no comment */
    emit(zip, records, (size_t)(at - records));
    drain(zip);
    return zip->error;
}

void zip_free(struct zip *zip)
{
    if (!zip)
        return;
    (void)deflateEnd(&zip->deflate);
    free(zip->entry.name);
    free(zip->directory);
    free(zip);
}
