#include "bundle/account.h"

#include <errno.h>
#include <string.h>

#include "bundle/json_value.h"

#define TEXT(array) json_text(array, sizeof(array))
#define KNOWN_TEXT(array) json_known_text(array, sizeof(array))

static const char *const keys[ARTIFACT_CRASH_JSON] = {
    [ARTIFACT_STACKTRACE] = "stacktrace",
    [ARTIFACT_CORE] = "core",
    [ARTIFACT_EXECUTABLE] = "executable",
    [ARTIFACT_LIBS] = "libs",
};

static json_t *fate_of(const json_t *account, enum artifact_kind kind)
{
    return json_object_get(json_object_get(account, "artifacts"), keys[kind]);
}

static bool is_account_of(const json_t *json, const char *id)
{
    const char *its_id = json_string_value(json_object_get(json, "id"));

    if (json_integer_value(json_object_get(json, "version")) != CRASH_JSON_VERSION || !its_id ||
        strcmp(its_id, id) != 0 || !json_is_boolean(json_object_get(json, "complete")))
        return false;
    for (int kind = 0; kind < ARTIFACT_CRASH_JSON; kind++)
        if (!json_is_object(fate_of(json, (enum artifact_kind)kind)))
            return false;
    return true;
}

int account_parse(const char *text, size_t size, const char *id, json_t **ret)
{
    _cleanup_account_ json_t *json = NULL;
    json_error_t error;

    if (size > ACCOUNT_MAX_BYTES)
        return -EFBIG;
    json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    if (!is_account_of(json, id))
        return -EBADMSG;
    *ret = json_incref(json);
    return 0;
}

bool account_is_complete(const json_t *account)
{
    return json_is_true(json_object_get(account, "complete"));
}

static void get_text(const json_t *object, const char *key, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(ret, size, "%s", text ? text : "");
}

void account_get(const json_t *account, enum artifact_kind kind, struct artifact *ret)
{
    const json_t *fate = fate_of(account, kind);
    const json_int_t size = json_integer_value(json_object_get(fate, "size"));

    *ret = (struct artifact){
        .made = json_is_string(json_object_get(fate, "file")),
        .size = size > 0 ? (uint64_t)size : 0,
        .in_cores_dir = json_is_true(json_object_get(fate, "in_cores_dir")),
        .in_s3 = json_is_true(json_object_get(fate, "in_s3")),
    };
    get_text(fate, "sha256", ret->sha256, sizeof(ret->sha256));
    get_text(fate, "error", ret->error, sizeof(ret->error));
}

int account_set(json_t *account, enum artifact_kind kind, const struct artifact *artifact)
{
    const char *id = json_string_value(json_object_get(account, "id"));
    const bool made = artifact->made;
    char file[sizeof(((struct bundle *)NULL)->id) + 32];
    json_t *fate = fate_of(account, kind), *news;
    int r;

    snprintf(file, sizeof(file), "%s%s", id, artifact_suffixes[kind]);
    news = json_object_of((const struct json_field[]){
        {"file", made ? TEXT(file) : json_null()},
        {"size", made ? json_size(artifact->size) : json_null()},
        {"sha256", made ? KNOWN_TEXT(artifact->sha256) : json_null()},
        {"in_cores_dir", json_boolean(artifact->in_cores_dir)},
        {"in_s3", json_boolean(artifact->in_s3)},
        {"error", KNOWN_TEXT(artifact->error)},
        {NULL, NULL},
    });
    r = news ? json_object_update(fate, news) : -1;
    json_decref(news);
    return r < 0 ? -ENOMEM : 0;
}

int account_complete(json_t *account)
{
    return json_object_set_new(account, "complete", json_true()) < 0 ? -ENOMEM : 0;
}
