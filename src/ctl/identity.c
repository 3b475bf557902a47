#include "ctl/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <jansson.h>

#include "ctl/privileges.h"
#include "store/http.h"
#include "store/imds.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

#define ALL_NS 2000000000ll
#define EACH_MS 1000

#define NAMESPACE_FILE "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

struct identity {
    pthread_t thread;
    _Atomic int64_t deadline_ns;
    char ecs_uri[1024]; /* of the metadata endpoint, "" elsewhere */
    bool is_kubernetes;
    struct container found; /* the thread's, until it is joined */
};

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}

/* Keeps a member's text where it fits; half an ARN is none. */
static void take(const json_t *object, const char *name, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (text && strlen(text) < size)
        strcpy(ret, text);
}

static json_t *ask_ecs(const struct identity *identity, const char *path)
{
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    char url[sizeof(identity->ecs_uri) + 16], why[512];
    const struct http_request request = {.method = "GET",
                                         .url = url,
                                         .is_direct = true,
                                         .timeout_ms = EACH_MS,
                                         .deadline_ns = &identity->deadline_ns};
    int r;

    snprintf(url, sizeof(url), "%s%s", identity->ecs_uri, path);
    r = http_exchange(&request, &reply, why, sizeof(why));
    if (r == 0 && reply->status == 200)
        return json_loadb(reply->text, reply->size, JSON_REJECT_DUPLICATES, NULL);
    log_debug("the ECS metadata%s are not known: %s", path, r < 0 ? why : "the endpoint refuses");
    return NULL;
}

static void ask_ecs_for_all(struct identity *identity)
{
    struct container *found = &identity->found;
    __attribute__((cleanup(cleanup_json))) json_t *container = ask_ecs(identity, "");
    __attribute__((cleanup(cleanup_json))) json_t *task = ask_ecs(identity, "/task");

    take(container, "Name", found->ecs_container_name, sizeof(found->ecs_container_name));
    take(container, "Image", found->image, sizeof(found->image));
    take(container, "ImageID", found->image_digest, sizeof(found->image_digest));
    take(task, "Cluster", found->ecs_cluster, sizeof(found->ecs_cluster));
    take(task, "TaskARN", found->ecs_task_arn, sizeof(found->ecs_task_arn));
}

/* A projected volume in memory: the kubelet has written it. */
static void read_namespace(struct container *found)
{
    char text[sizeof(found->pod_namespace)];
    ssize_t n = read_text_at(AT_FDCWD, NAMESPACE_FILE, text, sizeof(text));

    if (n > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == (size_t)n)
        strcpy(found->pod_namespace, text);
}

static bool begins_with(const char *path, const char *prefix)
{
    char text[64];

    return read_text_at(AT_FDCWD, path, text, sizeof(text)) > 0 &&
           strncasecmp(text, prefix, strlen(prefix)) == 0;
}

/* Amazon EC2 User Guide, "Detect whether a host is an EC2 instance": nobody else's metadata service
 * is asked. */
static bool is_ec2(void)
{
    return begins_with("/sys/hypervisor/uuid", "ec2") ||
           begins_with("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2") ||
           begins_with("/sys/devices/virtual/dmi/id/board_asset_tag", "i-");
}

static void ask_ec2(struct identity *identity)
{
    struct container *found = &identity->found;
    _cleanup_http_reply_ struct http_reply *reply = NULL;
    _cleanup_(imds_close) struct imds imds;
    char why[512];
    int r = imds_open(NULL, &identity->deadline_ns, &imds, why, sizeof(why));

    if (r == 0) {
        imds.attempts = 1;
        r = imds_get(&imds, "/latest/meta-data/instance-id", &reply, why, sizeof(why));
    }
    if (r < 0)
        log_debug("the EC2 instance's id is not known: %s", why);
    else if (reply->size < sizeof(found->ec2_instance_id) &&
             strspn(reply->text, "i-0123456789abcdef") == reply->size)
        strcpy(found->ec2_instance_id, reply->text);
}

static void *run(void *context)
{
    struct identity *identity = context;

    privileges_keep_for_sending();
    if (identity->is_kubernetes)
        read_namespace(&identity->found);
    if (identity->ecs_uri[0])
        ask_ecs_for_all(identity);
    if (is_ec2())
        ask_ec2(identity);
    return NULL;
}

static void read_ecs_uri(char *ret, size_t size)
{
    const char *uri = getenv("ECS_CONTAINER_METADATA_URI_V4");
    char host[256];
    bool is_tls;

    if (uri && strlen(uri) < size && http_url_split(uri, &is_tls, host, sizeof(host)) == 0)
        strcpy(ret, uri);
}

/* Signals are the other threads' business. */
static int start(struct identity *identity)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&identity->thread, NULL, run, identity);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

struct identity *identity_begin(const struct container *container)
{
    struct identity *identity = calloc(1, sizeof(*identity));

    if (!identity)
        return NULL;
    identity->is_kubernetes = container->orchestrator == ORCHESTRATOR_KUBERNETES;
    read_ecs_uri(identity->ecs_uri, sizeof(identity->ecs_uri));
    atomic_store(&identity->deadline_ns, monotonic_ns() + ALL_NS);
    /* Not for the first time in a thread, which old libcurls don't survive. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(identity);
        return NULL;
    }
    if (start(identity) < 0) {
        curl_global_cleanup();
        free(identity);
        return NULL;
    }
    return identity;
}

void identity_end(struct identity *identity, struct container *container)
{
    const struct container *found;

    if (!identity)
        return;
    (void)pthread_join(identity->thread, NULL);
    found = &identity->found;
    const struct {
        char *to;
        const char *from;
    } texts[] = {
        {container->pod_namespace, found->pod_namespace},
        {container->ecs_cluster, found->ecs_cluster},
        {container->ecs_task_arn, found->ecs_task_arn},
        {container->ecs_container_name, found->ecs_container_name},
        {container->image, found->image},
        {container->image_digest, found->image_digest},
        {container->ec2_instance_id, found->ec2_instance_id},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!texts[i].to[0])
            strcpy(texts[i].to, texts[i].from);
    curl_global_cleanup();
    free(identity);
}
