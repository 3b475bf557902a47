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
    int r = s3_upload_begin(s3, name, NULL, &upload);

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

static const enum s3_probe_step failed_steps[] = {
    [S3_MADE_NOTHING] = S3_PROBE_ADDRESS,
    [S3_MADE_ADDRESS] = S3_PROBE_CREDENTIALS,
    [S3_MADE_ALL] = S3_PROBE_DONE,
};

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

int s3_probe(const struct s3_settings *settings, const char *name, struct s3_probe *ret)
{
    _cleanup_(cleanup_s3) struct s3 *s3 = NULL;
    enum s3_made made;
    int r;

    memset(ret, 0, sizeof(*ret));
    r = s3_make(settings, true, &s3, &made, ret->why, sizeof(ret->why));
    if (r == -ENOMEM)
        return r;
    ret->failed = failed_steps[made];
    if (made == S3_MADE_ALL) {
        ret->why[0] = '\0';
        snprintf(ret->object, sizeof(ret->object), "%s%s%s", s3->address.prefix,
                 s3->address.prefix[0] ? "/" : "", name);
        ret->failed = try_object(s3, name, ret);
    }
    snprintf(ret->region, sizeof(ret->region), "%s", s3->address.region);
    snprintf(ret->url, sizeof(ret->url), "%s", s3->address.base);
    snprintf(ret->destination, sizeof(ret->destination), "%s", s3->destination);
    snprintf(ret->credentials, sizeof(ret->credentials), "%s", s3->credentials.place);
    return 0;
}
