#include "store/sts_reply.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <expat.h>

#include "store/aws_time.h"
#include "util/cleanup.h"

/* AssumeRoleResponse, AssumeRoleResult, Credentials, AccessKeyId */
#define MAX_DEPTH 16

/* Both replies in one: elements are known by their name and their parent's. */
struct texts {
    char access_key_id[129];
    char secret_access_key[257];
    char session_token[8193];
    char expiration[64];
    char code[64];
    char message[257];
};

#define FIELD(member) offsetof(struct texts, member), sizeof(((struct texts *)0)->member)

static const struct field {
    const char *parent, *name;
    size_t offset, size;
    bool may_be_cut; /* words for people; half a key is none */
} fields[] = {
    {"Credentials", "AccessKeyId", FIELD(access_key_id), false},
    {"Credentials", "SecretAccessKey", FIELD(secret_access_key), false},
    {"Credentials", "SessionToken", FIELD(session_token), false},
    {"Credentials", "Expiration", FIELD(expiration), false},
    {"Error", "Code", FIELD(code), false},
    {"Error", "Message", FIELD(message), true},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

struct parse {
    XML_Parser parser;
    struct texts texts;
    const char *parents[MAX_DEPTH + 1]; /* by depth: the name, where a field has such a parent */
    const struct field *field;          /* that the text belongs to, or NULL */
    size_t used;                        /* bytes of it */
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
    const char *parent = parse->parents[parse->depth];

    (void)attributes;
    parse->field = NULL;
    if (parse->depth == MAX_DEPTH) {
        refuse(parse);
        return;
    }
    parse->parents[++parse->depth] = NULL;
    parse->used = 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(name, fields[i].parent) == 0)
            parse->parents[parse->depth] = fields[i].parent;
        if (parent && strcmp(parent, fields[i].parent) == 0 && strcmp(name, fields[i].name) == 0)
            parse->field = &fields[i];
    }
}

static void on_end(void *context, const XML_Char *name)
{
    struct parse *parse = context;

    (void)name;
    parse->field = NULL;
    parse->depth--;
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
        size = field->size - 1 - parse->used;
        parse->field = NULL; /* what comes after a cut would not follow on */
    }
    value = (char *)&parse->texts + field->offset + parse->used;
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
    value[size] = '\0';
    parse->used += size;
}

/* Nothing that STS sends has one; entities, which can grow without bounds, are declared there. */
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

static void cleanup_parse(struct parse *parse)
{
    explicit_bzero(parse, sizeof(*parse));
}

static int judge(const struct texts *texts, struct sts_reply *ret)
{
    if (texts->code[0]) {
        strcpy(ret->code, texts->code);
        strcpy(ret->message, texts->message);
        return 0;
    }
    strcpy(ret->credentials.access_key_id, texts->access_key_id);
    strcpy(ret->credentials.secret_access_key, texts->secret_access_key);
    strcpy(ret->credentials.session_token, texts->session_token);
    if (!aws_credentials_are_whole(&ret->credentials) || !texts->session_token[0] ||
        aws_time_parse(texts->expiration, &ret->credentials.expires) < 0)
        return -EPROTO;
    return 0;
}

int sts_reply_parse(const char *data, size_t size, struct sts_reply *ret)
{
    _cleanup_(cleanup_parser) XML_Parser parser = XML_ParserCreate("UTF-8");
    _cleanup_(cleanup_parse) struct parse parse = {.parser = parser};

    memset(ret, 0, sizeof(*ret));
    if (!parser)
        return -ENOMEM;
    XML_SetUserData(parser, &parse);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (XML_Parse(parser, data, (int)size, XML_TRUE) != XML_STATUS_OK || parse.refused)
        return XML_GetErrorCode(parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EPROTO;
    return judge(&parse.texts, ret);
}
