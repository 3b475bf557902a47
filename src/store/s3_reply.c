#include "store/s3_reply.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "util/cleanup.h"

/* S3's documents are three levels deep. */
#define MAX_DEPTH 16

/* The texts of one <Part>. */
struct part_texts {
    char number[16], size[24];
    char etag[sizeof(((struct s3_part *)0)->etag)];
    char checksum[sizeof(((struct s3_part *)0)->checksum)];
};

struct field {
    const char *name;
    size_t offset, size;
    bool may_be_cut; /* words for people; half an id is another id */
};

#define FIELD(type, element, member)                                                               \
    {                                                                                              \
        .name = (element), .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)   \
    }

/* Of the root's children. */
static const struct field reply_fields[] = {
    FIELD(struct s3_reply, "Code", code),
    {"Message", offsetof(struct s3_reply, message), sizeof(((struct s3_reply *)0)->message), true},
    FIELD(struct s3_reply, "Region", region),
    FIELD(struct s3_reply, "UploadId", upload_id),
    FIELD(struct s3_reply, "ETag", etag),
    FIELD(struct s3_reply, "ChecksumCRC64NVME", checksum),
    FIELD(struct s3_reply, "ChecksumCRC32C", checksum),
    FIELD(struct s3_reply, "ChecksumCRC32", checksum),
    FIELD(struct s3_reply, "ChecksumAlgorithm", checksum_algorithm),
    FIELD(struct s3_reply, "IsTruncated", is_truncated),
};

/* Of the children of a <Part> of the root's. */
static const struct field part_fields[] = {
    FIELD(struct part_texts, "PartNumber", number),
    FIELD(struct part_texts, "Size", size),
    FIELD(struct part_texts, "ETag", etag),
    FIELD(struct part_texts, "ChecksumCRC64NVME", checksum),
    FIELD(struct part_texts, "ChecksumCRC32C", checksum),
    FIELD(struct part_texts, "ChecksumCRC32", checksum),
};

struct parse {
    XML_Parser parser;
    struct s3_reply *reply;
    struct part_texts part;
    s3_part_fn on_part;
    void *context;
    char *value;               /* that the text belongs to, or NULL */
    const struct field *field; /* of it */
    size_t used;               /* bytes of it */
    unsigned depth;
    bool is_in_part;
    bool refused;
};

static void refuse(struct parse *parse)
{
    parse->refused = true;
    XML_StopParser(parse->parser, XML_FALSE);
}

static void begin_value(struct parse *parse, const char *name, const struct field *fields,
                        size_t n_fields, void *base)
{
    for (size_t i = 0; i < n_fields; i++)
        if (strcmp(name, fields[i].name) == 0) {
            parse->field = &fields[i];
            parse->value = (char *)base + fields[i].offset;
            parse->value[0] = '\0';
        }
    parse->used = 0;
}

static void on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
    struct parse *parse = context;

    (void)attributes;
    parse->value = NULL;
    parse->depth++;
    if (parse->depth > MAX_DEPTH) {
        refuse(parse);
    } else if (parse->depth == 1) {
        if (strlen(name) < sizeof(parse->reply->root))
            strcpy(parse->reply->root, name);
    } else if (parse->depth == 2) {
        parse->is_in_part = parse->on_part && strcmp(name, "Part") == 0;
        memset(&parse->part, 0, sizeof(parse->part));
        begin_value(parse, name, reply_fields, sizeof(reply_fields) / sizeof(reply_fields[0]),
                    parse->reply);
    } else if (parse->depth == 3 && parse->is_in_part) {
        begin_value(parse, name, part_fields, sizeof(part_fields) / sizeof(part_fields[0]),
                    &parse->part);
    }
}

/* Digits alone: strtoull() takes signs and blanks. Returns whether it is a number. */
static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static void end_part(struct parse *parse)
{
    struct s3_part part;
    uint64_t number;

    parse->is_in_part = false;
    if (!parse_number(parse->part.number, &number) || number > UINT32_MAX ||
        !parse_number(parse->part.size, &part.size)) {
        refuse(parse);
        return;
    }
    part.number = (unsigned)number;
    strcpy(part.etag, parse->part.etag);
    strcpy(part.checksum, parse->part.checksum);
    parse->on_part(parse->context, &part);
}

static void on_end(void *context, const XML_Char *name)
{
    struct parse *parse = context;

    (void)name;
    parse->value = NULL;
    if (parse->depth == 2 && parse->is_in_part)
        end_part(parse);
    parse->depth--;
}

/* How much of a UTF-8 text fits, whole characters only. */
static size_t whole_characters(const char *text, size_t size)
{
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

static void on_text(void *context, const XML_Char *text, int length)
{
    struct parse *parse = context;
    const struct field *field = parse->field;
    char *value = parse->value;
    size_t size = (size_t)length;

    if (!value)
        return;
    if (size > field->size - 1 - parse->used) {
        if (!field->may_be_cut) {
            refuse(parse);
            return;
        }
        size = whole_characters(text, field->size - 1 - parse->used);
        parse->value = NULL; /* what comes after a cut would not follow on */
    }
    for (size_t i = 0; i < size; i++)
        value[parse->used++] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
    value[parse->used] = '\0';
}

/* Nothing that S3 sends has one; entities, which can grow without bounds, are declared there. */
static void on_doctype(void *context, const XML_Char *name, const XML_Char *system_id,
                       const XML_Char *public_id, int has_internal_subset)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal_subset;
    refuse(context);
}

static void cleanup_parser(XML_Parser *parser)
{
    XML_ParserFree(*parser);
}

int s3_reply_parse(const char *data, size_t size, s3_part_fn on_part, void *context,
                   struct s3_reply *ret)
{
    _cleanup_(cleanup_parser) XML_Parser parser = XML_ParserCreate("UTF-8");
    struct parse parse = {.parser = parser, .reply = ret, .on_part = on_part, .context = context};

    memset(ret, 0, sizeof(*ret));
    while (size > 0 && strchr(" \t\r\n", *data) && *data != '\0') {
        data++;
        size--;
    }
    if (size == 0)
        return -ENODATA;
    if (size > S3_MAX_REPLY_BYTES)
        return -EBADMSG;
    if (!parser)
        return -ENOMEM;
    XML_SetUserData(parser, &parse);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (XML_Parse(parser, data, (int)size, XML_TRUE) == XML_STATUS_OK && !parse.refused)
        return 0;
    memset(ret, 0, sizeof(*ret));
    return XML_GetErrorCode(parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EBADMSG;
}
