/* Where a bundle goes. */

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/doctor.h"
#include "ctl/privileges.h"

/* Amazon S3 refuses requests that are signed by a clock that far off. */
#define MOST_SKEW (15 * 60)
#define MUCH_SKEW (5 * 60)

struct probing {
    const struct s3_settings *settings;
    const char *name;
    struct s3_probe *probe;
    int result;
};

static void *probe_unprivileged(void *context)
{
    struct probing *probing = context;

    privileges_keep_for_sending();
    probing->result = s3_probe(probing->settings, probing->name, probing->probe);
    return NULL;
}

void doctor_probe(const struct s3_settings *settings, const char *name, struct s3_probe *ret)
{
    struct probing probing = {settings, name, ret, 0};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, probe_unprivileged, &probing);

    if (error == 0)
        error = pthread_join(thread, NULL);
    if (error != 0 || probing.result < 0)
        snprintf(ret->why, sizeof(ret->why), "out of memory");
}

static bool is_skipped(const struct doctor *doctor, struct finding *ret)
{
    if (doctor->coreinit.error[0])
        finding_is(ret, CHECK_SKIPPED, "without coreinit nothing is sent");
    else if (!doctor->coreinit.settings.bucket[0])
        finding_is(ret, CHECK_SKIPPED, "S3_BUCKET isn't set: nothing is sent");
    else
        return false;
    return true;
}

void check_credentials(const struct doctor *doctor, struct finding *ret)
{
    const struct s3_probe *probe = &doctor->probe;

    if (is_skipped(doctor, ret))
        return;
    if (probe->credentials[0]) {
        finding_is(ret, CHECK_OK, "those of %s", probe->credentials);
        finding_means(ret, "What is sent is signed with them.");
        return;
    }
    if (probe->failed != S3_PROBE_CREDENTIALS) {
        finding_is(ret, CHECK_SKIPPED, "not looked for: the bucket's address isn't known");
        return;
    }
    finding_is(ret, CHECK_FAIL, "%s", probe->why);
    finding_means(ret, "Nothing can be sent to %s.", probe->destination);
    finding_mend(ret, "-e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY, or ~/.aws mounted",
                 "taskRoleArn in the task definition (task-defs/README.md)",
                 "a role for the service account: IRSA or EKS Pod Identity (k8s/README.md)");
}

static void mend_bucket(struct finding *ret)
{
    finding_mend(ret,
                 "S3_BUCKET, S3_KEY_PREFIX, AWS_REGION, AWS_ENDPOINT_URL_S3 by -e; "
                 "s3:PutObject and s3:AbortMultipartUpload in the IAM policy",
                 "the same in environment; the task's subnet needs a NAT gateway or an S3 gateway "
                 "endpoint; policy in task-defs/README.md",
                 "the same in env; a NetworkPolicy must let the pod out to S3");
}

void check_bucket(const struct doctor *doctor, struct finding *ret)
{
    const struct s3_probe *probe = &doctor->probe;

    if (is_skipped(doctor, ret))
        return;
    switch (probe->failed) {
    case S3_PROBE_CREDENTIALS:
        finding_is(ret, CHECK_SKIPPED, "%s isn't tried without credentials", probe->destination);
        return;
    case S3_PROBE_ADDRESS:
        finding_is(ret, CHECK_FAIL, "%s", probe->why);
        break;
    case S3_PROBE_WRITE:
        finding_is(ret, CHECK_FAIL, "%s can't be written (region %s, %s): %s", probe->destination,
                   probe->region, probe->url, probe->why);
        break;
    case S3_PROBE_PARTS:
        finding_is(ret, CHECK_FAIL,
                   "%s takes an object at once, but not in parts (region %s, %s): %s",
                   probe->destination, probe->region, probe->url, probe->why);
        break;
    case S3_PROBE_DELETE:
        finding_is(ret, CHECK_OK,
                   "%s can be written (region %s, %s); the object %s stays there, since it "
                   "can't be removed: %s",
                   probe->destination, probe->region, probe->url, probe->object, probe->why);
        break;
    case S3_PROBE_DONE:
        finding_is(ret, CHECK_OK,
                   "%s can be written (region %s, %s): an object was sent and removed",
                   probe->destination, probe->region, probe->url);
        break;
    }
    if (ret->state == CHECK_OK) {
        finding_means(ret, "Bundles are sent there.");
        return;
    }
    finding_means(ret, probe->failed == S3_PROBE_PARTS
                           ? "What is larger than 16 MiB isn't sent, as most cores are."
                           : "Bundles aren't sent; what the cores dir holds stays there.");
    mend_bucket(ret);
}

void check_clock(const struct doctor *doctor, struct finding *ret)
{
    const struct s3_probe *probe = &doctor->probe;
    const int64_t offset = probe->clock_offset, skew = offset < 0 ? -offset : offset;

    if (is_skipped(doctor, ret))
        return;
    if (!probe->knows_clock) {
        finding_is(ret, CHECK_SKIPPED, "no server told its time");
        return;
    }
    finding_is(ret,
               skew >= MOST_SKEW && probe->failed == S3_PROBE_WRITE ? CHECK_FAIL
               : skew >= MUCH_SKEW                                  ? CHECK_WARNING
                                                                    : CHECK_OK,
               "%" PRId64 " s %s the server's", skew, offset < 0 ? "behind" : "ahead of");
    finding_means(ret, "S3 refuses what is signed by a clock that is 15 minutes off; what is sent "
                       "carries the server's time then.");
    if (ret->state != CHECK_OK)
        finding_mend(ret, "set the host's clock (chrony, ntpd)",
                     "EC2: chrony with the Amazon Time Sync Service, 169.254.169.123",
                     "set the node's clock (chrony, ntpd)");
}
