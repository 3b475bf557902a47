#include "store/s3_reply.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <expat.h>

#include "util/cleanup.h"

/* S3's documents are three levels deep. */
#define MAX_DEPTH 16

static const struct field {
    const char *name;
    size_t offset, size;
    bool may_be_cut; /* words for people; half an id is another id */
} fields[] = {
    {"Code", offsetof(struct s3_reply, code), sizeof(((struct s3_reply *)0)->code), false},
    {"Message", offsetof(struct s3_reply, message), sizeof(((struct s3_reply *)0)->message), true},
    {"Region", offsetof(struct s3_reply, region), sizeof(((struct s3_reply *)0)->region), false},
    {"UploadId", offsetof(struct s3_reply, upload_id), sizeof(((struct s3_reply *)0)->upload_id),
     false},
};

struct parse {
    XML_Parser parser;
    struct s3_reply *reply;
    const struct field *field; /* that the text belongs to, or NULL */
    size_t used;               /* bytes of it */
    unsigned depth;
    bool refused;
};

static void refuse(struct parse *parse)
{
    parse->refused = true;
    XML_StopParser(parse->parser, XML_FALSE);
}

static void on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
    struct parse *parse = context;

    (void)attributes;
    parse->field = NULL;
    parse->depth++;
    if (parse->depth > MAX_DEPTH) {
        refuse(parse);
    } else if (parse->depth == 1) {
        if (strlen(name) < sizeof(parse->reply->root))
            strcpy(parse->reply->root, name);
    } else if (parse->depth == 2) {
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
            if (strcmp(name, fields[i].name) == 0)
                parse->field = &fields[i];
        parse->used = 0;
    }
}

static void on_end(void *context, const XML_Char *name)
{
    struct parse *parse = context;

    (void)name;
    parse->field = NULL;
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
    size_t size = (size_t)length;
    char *value;

    if (!field)
        return;
    if (size > field->size - 1 - parse->used) {
        if (!field->may_be_cut) {
            refuse(parse);
            return;
        }
        size = whole_characters(text, field->size - 1 - parse->used);
        parse->field = NULL; /* what comes after a cut would not follow on */
    }
    value = (char *)parse->reply + field->offset;
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

int s3_reply_parse(const char *data, size_t size, struct s3_reply *ret)
{
    _cleanup_(cleanup_parser) XML_Parser parser = XML_ParserCreate("UTF-8");
    struct parse parse = {.parser = parser, .reply = ret};

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
