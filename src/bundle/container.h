#pragma once

/*
 * Which container this is, and how much memory it has: what the environment, cgroup files
 * (cgroups(7)) and the mount table of the collector tell, which lives in the same container.
 *
 * Of the environment only names that say where something runs are read: ECS's
 * ECS_CONTAINER_METADATA_URI_V4 (of which the id alone is kept) and, by the convention of the
 * Kubernetes documentation's downward API examples, POD_NAME, POD_NAMESPACE, POD_UID and NODE_NAME;
 * KUBERNETES_SERVICE_HOST is looked at for being there.
 */

#include <stdint.h>
#include <sys/types.h>

#define MEMORY_UNLIMITED UINT64_MAX

enum orchestrator {
    ORCHESTRATOR_UNKNOWN,
    ORCHESTRATOR_ECS,
    ORCHESTRATOR_KUBERNETES,
};

/* A text is "" and a number 0 where it isn't known, so a struct of zeros knows nothing. */
struct container {
    enum orchestrator orchestrator;
    char id[65];             /* the runtime's: 64 hex digits */
    char ecs_container[129]; /* id of the metadata endpoint */
    char pod_name[254];      /* Kubernetes names have at most 253 characters */
    char pod_namespace[254]; /* POD_NAMESPACE, else the service account's */
    char pod_uid[129];
    char node_name[254];

    /* What only a metadata service tells: container_read() leaves them "", since asking takes time.
     * The first five are ECS's (task metadata endpoint version 4: Cluster and TaskARN of /task;
     * Name, Image and ImageID of the container), the last is EC2's. */
    char ecs_cluster[512]; /* short name or ARN */
    char ecs_task_arn[512];
    char ecs_container_name[256];
    char image[512];
    char image_digest[128];   /* "sha256:..." */
    char ec2_instance_id[32]; /* "i-..." */

    char cgroup[1024];     /* path of the memory cgroup */
    uint64_t memory_usage; /* bytes, now: after the crash */
    uint64_t memory_limit; /* bytes, or MEMORY_UNLIMITED */
    uint64_t memory_peak;  /* bytes; Linux 5.19 where it is cgroup v2 */
    uint64_t memory_cache; /* bytes of @memory_usage that the kernel takes back when it needs them:
                              file pages not used of late */
};

/*
 * Reads what there is to know.
 *
 * @root  prefix for /proc and /sys: "", or a test's folder
 */
void container_read(const char *root, struct container *ret);

/*
 * The same of the container that a process is in: another one of this pod or task, whose
 * environment tells what it has in common with this one.
 *
 * @root_fd  its root directory
 */
void container_read_of(pid_t pid, int root_fd, struct container *ret);
