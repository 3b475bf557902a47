#include "store/s3_probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "store/s3_client.h"
#include "store/s3_upload.h"
#include "util/cleanup.h"

static const char content[] =
    "corectl doctor wrote this to see whether it may. It is of no use any more.\n";

static void cleanup_s3(struct s3 **s3)
{
    s3_close(*s3);
}

/* The server's time is that of its reply's making, to the second. */
static void read_clock(const struct s3_response *response, struct s3_probe *probe)
{
    const time_t server = response->date[0] ? curl_getdate(response->date, NULL) : -1;

    probe->knows_clock = server > 0;
    if (probe->knows_clock)
        probe->clock_offset = (int64_t)(time(NULL) - server);
}

static int send_step(struct s3 *s3, const struct s3_request *request, struct s3_probe *probe)
{
    struct s3_response response = {0};
    int r = s3_send(s3, request, &response);

    if (!probe->knows_clock)
        read_clock(&response, probe);
    if (r < 0)
        snprintf(probe->why, sizeof(probe->why), "%s", s3->failure.words);
    return r;
}

/* One part, and the last one may be as small as it likes. */
static int send_parts(struct s3 *s3, const char *name, const struct s3_body *body,
                      struct s3_probe *probe)
{
    _cleanup_s3_upload_ struct s3_upload upload = {0};
    int r = s3_upload_begin(s3, name, &upload);

    if (r == 0)
        r = s3_upload_part(&upload, body);
    if (r == 0)
        r = s3_upload_complete(&upload);
    if (r < 0)
        snprintf(probe->why, sizeof(probe->why), "%s", s3->failure.words);
    return r;
}

static void add_rest(struct s3_probe *probe)
{
    const size_t used = strlen(probe->why);

    snprintf(probe->why + used, sizeof(probe->why) - used,
             "; the object %s stays there, since it can't be removed", probe->object);
}

static enum s3_probe_step try_object(struct s3 *s3, const char *name, struct s3_probe *probe)
{
    const struct s3_request write = {
        .method = "PUT",
        .name = name,
        .body = {.data = content, .size = sizeof(content) - 1},
        .needs_etag = true,
    };
    const struct s3_request delete = {.method = "DELETE", .name = name};
    struct s3_response response;

    if (send_step(s3, &write, probe) < 0)
        return S3_PROBE_WRITE;
    if (send_parts(s3, name, &write.body, probe) < 0) {
        if (s3_send(s3, &delete, &response) < 0)
            add_rest(probe);
        return S3_PROBE_PARTS;
    }
    return send_step(s3, &delete, probe) < 0 ? S3_PROBE_DELETE : S3_PROBE_DONE;
}

/* Returns the step that failed. */
static enum s3_probe_step find_place(const struct s3_settings *settings,
                                     const struct aws_profile *profile, struct s3 *s3,
                                     struct s3_probe *probe)
{
    if (s3_address_resolve(settings, profile, &s3->address, probe->why, sizeof(probe->why)) < 0)
        return S3_PROBE_ADDRESS;
    snprintf(probe->region, sizeof(probe->region), "%s", s3->address.region);
    snprintf(probe->url, sizeof(probe->url), "%s", s3->address.base);
    if (aws_credentials_find(profile, &s3->credentials, probe->why, sizeof(probe->why)) < 0)
        return S3_PROBE_CREDENTIALS;
    snprintf(probe->credentials, sizeof(probe->credentials), "%s", s3->credentials.place);
    return S3_PROBE_DONE;
}

int s3_probe(const struct s3_settings *settings, const char *name, struct s3_probe *ret)
{
    _cleanup_aws_profile_ struct aws_profile *profile = NULL;
    _cleanup_(cleanup_s3) struct s3 *s3 = NULL;
    int r;

    memset(ret, 0, sizeof(*ret));
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -ENOMEM;
    s3 = calloc(1, sizeof(*s3));
    if (!s3) {
        curl_global_cleanup();
        return -ENOMEM;
    }
    s3->is_hasty = true;
    r = aws_profile_load(&profile);
    if (r < 0)
        return r;
    ret->failed = find_place(settings, profile, s3, ret);
    r = s3_prepare(s3);
    if (r < 0)
        return r;
    if (ret->failed != S3_PROBE_ADDRESS)
        snprintf(ret->destination, sizeof(ret->destination), "%s", s3->destination);
    if (ret->failed != S3_PROBE_DONE)
        return 0;
    snprintf(ret->object, sizeof(ret->object), "%s%s%s", s3->address.prefix,
             s3->address.prefix[0] ? "/" : "", name);
    ret->failed = try_object(s3, name, ret);
    return 0;
}
