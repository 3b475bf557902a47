/* Container and cgroup facts, from trees as the common runtimes make them. */

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bundle/container.h"
#include "util/cleanup.h"
#include "util/io.h"

#define OUTER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define INNER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

struct file {
    const char *path, *text;
};

static void make_folders(const char *path)
{
    char folders[PATH_MAX];

    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folders, sizeof(folders), "%.*s", (int)(slash - path), path);
        (void)mkdir(folders, 0700);
    }
}

static const char *const variables[] = {
    "KUBERNETES_SERVICE_HOST",      "POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME",
    "ECS_CONTAINER_METADATA_URI_V4"};

/* These tests may run in a container themselves. */
static int forget_environment(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    return 0;
}

/* What is read from a root with these files. */
static struct container container_of(const struct file *files)
{
    char root[] = "/tmp/bundle_container_test.XXXXXX", command[64];
    struct container container;

    assert_non_null(mkdtemp(root));
    for (; files->path; files++) {
        char path[PATH_MAX];
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s%s", root, files->path);
        make_folders(path);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_text(fd, files->text), 0);
    }
    memset(&container, 'x', sizeof(container));
    container_read(root, &container);
    snprintf(command, sizeof(command), "rm -r %s", root);
    assert_int_equal(system(command), 0);
    return container;
}

#define CONTAINER(...) container_of((const struct file[]){__VA_ARGS__, {NULL, NULL}})

static void nothing_there_is_nothing_known(void **unused)
{
    (void)unused;
    static const struct container nothing;
    struct container container = container_of((const struct file[]){{NULL, NULL}});

    assert_memory_equal(&container, &nothing, sizeof(nothing));
}

static void docker_with_cgroup_v2_is_seen_from_within_its_namespace(void **unused)
{
    (void)unused;
    struct container container = CONTAINER(
        {"/proc/self/cgroup", "0::/\n"},
        {"/proc/self/mountinfo",
         "1 2 0:1 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X\n"
         "3 1 8:1 /var/lib/docker/containers/" OUTER "/hostname /etc/hostname rw - ext4\n"},
        {"/sys/fs/cgroup/memory.current", "1048576\n"}, {"/sys/fs/cgroup/memory.max", "max\n"},
        {"/sys/fs/cgroup/memory.peak", "2097152\n"});

    assert_string_equal(container.id, OUTER);
    assert_string_equal(container.cgroup, "/");
    assert_int_equal(container.memory_usage, 1048576);
    assert_true(container.memory_limit == MEMORY_UNLIMITED);
    assert_int_equal(container.memory_peak, 2097152);
}

static void docker_with_cgroup_v1_mounts_its_part_as_the_root(void **unused)
{
    (void)unused;
    struct container container =
        CONTAINER({"/proc/self/cgroup", "12:cpu,cpuacct:/docker/" OUTER "\n9:memory:/docker/" OUTER
                                        "\n1:name=systemd:/docker/" OUTER "\n0::/system.slice\n"},
                  {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"},
                  {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                  {"/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "7\n"},
                  {"/sys/fs/cgroup/memory.current", "99\n"});

    assert_string_equal(container.id, OUTER);
    assert_string_equal(container.cgroup, "/docker/" OUTER);
    assert_int_equal(container.memory_usage, 5);
    assert_true(container.memory_limit == MEMORY_UNLIMITED);
    assert_int_equal(container.memory_peak, 7);
}

static void a_cgroup_is_read_at_its_own_path_first(void **unused)
{
    (void)unused;
    struct container container =
        CONTAINER({"/proc/self/cgroup", "0::/kubepods/pod1/" OUTER "\n"},
                  {"/sys/fs/cgroup/memory.max", "1\n"}, {"/sys/fs/cgroup/memory.current", "2\n"},
                  {"/sys/fs/cgroup/kubepods/pod1/" OUTER "/memory.max", "536870912\n"});

    assert_string_equal(container.id, OUTER);
    assert_int_equal(container.memory_limit, 536870912);
    assert_int_equal(container.memory_usage, 2);
    assert_int_equal(container.memory_peak, 0);
}

static void files_that_the_kernel_can_drop_are_told_apart(void **unused)
{
    (void)unused;
    struct container v2 = CONTAINER(
        {"/proc/self/cgroup", "0::/\n"},
        {"/sys/fs/cgroup/memory.stat", "anon 1\nfile 9\ninactive_file 4096\nactive_file 5\n"});
    struct container v1 =
        CONTAINER({"/proc/self/cgroup", "9:memory:/\n"},
                  {"/sys/fs/cgroup/memory/memory.stat",
                   "cache 9\ninactive_file 1\nhierarchical_memory_limit 7\ntotal_inactive_file "
                   "8192\n"});
    struct container damaged =
        CONTAINER({"/proc/self/cgroup", "0::/\n"},
                  {"/sys/fs/cgroup/memory.stat", "anon 1\ninactive_file_new 4096\n"});

    assert_int_equal(v2.memory_cache, 4096);
    assert_int_equal(v1.memory_cache, 8192);
    assert_int_equal(damaged.memory_cache, 0);
}

static void the_innermost_of_nested_containers_is_told(void **unused)
{
    (void)unused;
    struct container container = CONTAINER(
        {"/proc/self/cgroup", "0::/docker/" OUTER "/system.slice/docker-" INNER ".scope\n"});

    assert_string_equal(container.id, INNER);
}

static void other_hex_is_no_container(void **unused)
{
    (void)unused;
    struct container container = CONTAINER(
        {"/proc/self/cgroup", "0::/" OUTER "0/ad0d88881e3ebf6b0a7be4fcbc9828c7\n"},
        {"/proc/self/mountinfo",
         "1 1 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/" OUTER "/hostname /x\n"
         "1 1 8:1 /var/lib/kubelet/pods/1/containers/app/0a1b2c3d /dev/termination-log\n"
         "1 1 8:1 /var/run/containers/storage/overlay-containers/" OUTER
         "/userdata/hostname /x\n"});

    assert_string_equal(container.id, "");
}

static void damaged_files_are_unknown(void **unused)
{
    (void)unused;
    struct container container =
        CONTAINER({"/proc/self/cgroup", "x\n:::\n9:memory\n0::\n5:memory:/a\n"},
                  {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "12 apples\n"},
                  {"/sys/fs/cgroup/memory/memory.limit_in_bytes", ""},
                  {"/sys/fs/cgroup/memory/memory.max_usage_in_bytes",
                   "99999999999999999999999999999999999999999999\n"});

    assert_string_equal(container.cgroup, "/a");
    assert_int_equal(container.memory_usage, 0);
    assert_int_equal(container.memory_limit, 0);
    assert_true(container.memory_peak == MEMORY_UNLIMITED);
}

static void another_containers_memory_is_its_own_and_its_pod_is_ours(void **unused)
{
    (void)unused;
    static const char *const limits[] = {"memory.max", "memory/memory.limit_in_bytes"};
    char root[] = "/tmp/bundle_container_test.XXXXXX", path[PATH_MAX], command[64];
    _cleanup_close_ int root_fd = -1;
    struct container container;

    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < 2; i++) { /* whatever this machine's version is */
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/sys/fs/cgroup/%s", root, limits[i]);
        make_folders(path);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write_text(fd, "4194304\n"), 0);
    }
    root_fd = open(root, O_PATH | O_CLOEXEC);
    setenv("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/0a1b-527074092", 1);
    setenv("POD_NAME", "pod", 1);
    container_read_of(getpid(), root_fd, &container);
    forget_environment(NULL);
    snprintf(command, sizeof(command), "rm -r %s", root);
    assert_int_equal(system(command), 0);

    assert_string_equal(container.pod_name, "pod");
    assert_int_equal(container.orchestrator, ORCHESTRATOR_ECS);
    assert_string_equal(container.ecs_container, "");
    assert_int_equal(container.memory_limit, 4194304);
}

static void ecs_is_known_by_its_metadata_address_of_which_the_id_is_kept(void **unused)
{
    (void)unused;
    setenv("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/0a1b-527074092", 1);
    struct container container = container_of((const struct file[]){{NULL, NULL}});
    forget_environment(NULL);

    assert_int_equal(container.orchestrator, ORCHESTRATOR_ECS);
    assert_string_equal(container.ecs_container, "0a1b-527074092");
}

static void kubernetes_names_are_read_from_the_downward_variables(void **unused)
{
    (void)unused;
    char long_name[1000];

    memset(long_name, 'n', sizeof(long_name));
    long_name[999] = '\0';
    for (size_t i = 0; i < 5; i++)
        setenv(variables[i], variables[i], 1);
    setenv("NODE_NAME", long_name, 1);
    struct container container = container_of((const struct file[]){{NULL, NULL}});
    forget_environment(NULL);

    assert_int_equal(container.orchestrator, ORCHESTRATOR_KUBERNETES);
    assert_string_equal(container.pod_name, "POD_NAME");
    assert_string_equal(container.pod_namespace, "POD_NAMESPACE");
    assert_string_equal(container.pod_uid, "POD_UID");
    assert_int_equal(strlen(container.node_name), sizeof(container.node_name) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_there_is_nothing_known),
        cmocka_unit_test(docker_with_cgroup_v2_is_seen_from_within_its_namespace),
        cmocka_unit_test(docker_with_cgroup_v1_mounts_its_part_as_the_root),
        cmocka_unit_test(a_cgroup_is_read_at_its_own_path_first),
        cmocka_unit_test(files_that_the_kernel_can_drop_are_told_apart),
        cmocka_unit_test(the_innermost_of_nested_containers_is_told),
        cmocka_unit_test(other_hex_is_no_container),
        cmocka_unit_test(damaged_files_are_unknown),
        cmocka_unit_test(another_containers_memory_is_its_own_and_its_pod_is_ours),
        cmocka_unit_test(ecs_is_known_by_its_metadata_address_of_which_the_id_is_kept),
        cmocka_unit_test(kubernetes_names_are_read_from_the_downward_variables),
    };

    return cmocka_run_group_tests(tests, forget_environment, NULL);
}
