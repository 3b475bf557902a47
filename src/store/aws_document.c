#include "store/aws_document.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "store/aws_time.h"

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

/* A member's text, of either spelling; NULL where there is none. */
static const char *text_of(const json_t *document, const char *name, const char *other_name)
{
    const char *text = json_string_value(json_object_get(document, name));

    return text || !other_name ? text : json_string_value(json_object_get(document, other_name));
}

/* Words of a server's for our log: cut, and without control characters. */
static void add_words(const char *words, char *ret, size_t ret_size)
{
    const size_t used = strlen(ret);

    if (!words)
        return;
    snprintf(ret + used, ret_size - used, ": %.200s", words);
    for (char *c = ret + used; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

static void add_complaint(const json_t *document, char *ret, size_t ret_size)
{
    add_words(text_of(document, "Code", "code"), ret, ret_size);
    add_words(text_of(document, "Message", "message"), ret, ret_size);
}

void aws_document_complaint(const char *text, size_t size, char *ret, size_t ret_size)
{
    _cleanup_json_ json_t *document = json_loadb(text, size, 0, NULL);

    ret[0] = '\0';
    add_complaint(document, ret, ret_size);
}

static int fail(char *why, size_t why_size, const char *what, const char *name)
{
    snprintf(why, why_size, "%s%s", name, what);
    return -EPROTO;
}

static int take(const json_t *document, const char *name, bool is_required, char *ret, size_t size,
                char *why, size_t why_size)
{
    const char *text = text_of(document, name, NULL);

    if (!text || !text[0])
        return is_required ? fail(why, why_size, " is missing", name) : 0;
    if (strlen(text) >= size)
        return fail(why, why_size, " is too long", name);
    strcpy(ret, text);
    return 0;
}

static int take_all(const json_t *document, enum aws_document kind, struct aws_credentials *ret,
                    char *why, size_t why_size)
{
    const bool is_service = kind == AWS_DOCUMENT_SERVICE;
    const struct {
        const char *name;
        bool is_required;
        char *text;
        size_t size;
    } members[] = {
        {"AccessKeyId", true, ret->access_key_id, sizeof(ret->access_key_id)},
        {"SecretAccessKey", true, ret->secret_access_key, sizeof(ret->secret_access_key)},
        {is_service ? "Token" : "SessionToken", is_service, ret->session_token,
         sizeof(ret->session_token)},
    };
    char expiration[64] = "";
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++)
        r = take(document, members[i].name, members[i].is_required, members[i].text,
                 members[i].size, why, why_size);
    if (r == 0)
        r = take(document, "Expiration", is_service, expiration, sizeof(expiration), why, why_size);
    if (r == 0 && expiration[0] && aws_time_parse(expiration, &ret->expires) < 0)
        return fail(why, why_size, " is no time", "Expiration");
    if (r == 0 && !aws_credentials_are_whole(ret))
        return fail(why, why_size, " has a blank or a control character in it", "the key");
    return r;
}

int aws_document_parse(const char *text, size_t size, enum aws_document kind,
                       struct aws_credentials *ret, char *why, size_t why_size)
{
    json_error_t error = {0};
    _cleanup_json_ json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    const char *code;

    memset(ret, 0, sizeof(*ret));
    if (!document && json_error_code(&error) == json_error_out_of_memory) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    if (!json_is_object(document))
        return fail(why, why_size, "it is no JSON object", "");
    if (kind == AWS_DOCUMENT_PROCESS &&
        json_integer_value(json_object_get(document, "Version")) != 1)
        return fail(why, why_size, " isn't 1", "Version");
    code = text_of(document, "Code", "code");
    if (kind == AWS_DOCUMENT_SERVICE && code && strcmp(code, "Success") != 0) {
        snprintf(why, why_size, "it gives none");
        add_complaint(document, why, why_size);
        return -EACCES;
    }
    return take_all(document, kind, ret, why, why_size);
}
