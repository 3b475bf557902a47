/* What procfs, cgroup files and ECS's metadata tell of the container. */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle/container.h"
#include "ctl/identity.h"
#include "store/http.h"
#include "util/cleanup.h"
#include "util/io.h"

#include "fuzz.h"

/* A tree of such files, in the working directory. */
#define ROOT "container.root"

static const char *const folders[] = {
    ROOT,
    ROOT "/proc",
    ROOT "/proc/self",
    ROOT "/sys",
    ROOT "/sys/fs",
    ROOT "/sys/fs/cgroup",
    ROOT "/sys/fs/cgroup/memory",
};

static const char *const files[] = {
    ROOT "/proc/self/cgroup",
    ROOT "/proc/self/mountinfo",
    ROOT "/sys/fs/cgroup/memory.max",
    ROOT "/sys/fs/cgroup/memory.stat",
    ROOT "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ROOT "/sys/fs/cgroup/memory/memory.stat",
};

static void make_folders(void)
{
    static bool are_made;

    if (are_made)
        return;
    are_made = true;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        fuzz_expect(mkdir(folders[i], 0700) == 0 || errno == EEXIST);
}

static void check(const struct container *container)
{
    fuzz_expect(container->id[0] == '\0' || strlen(container->id) == 64);
    fuzz_expect(memchr(container->cgroup, '\0', sizeof(container->cgroup)) != NULL);
    fuzz_expect(memchr(container->image, '\0', sizeof(container->image)) != NULL);
    fuzz_expect(memchr(container->ecs_task_arn, '\0', sizeof(container->ecs_task_arn)) != NULL);
}

static void parse_files(const char *data, size_t size)
{
    struct fuzz_texts texts = {data, size};
    static struct container container;
    static char text[64 * 1024];

    make_folders();
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        _cleanup_close_ int fd = open(files[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        fuzz_expect(fd >= 0 && write_text(fd, fuzz_text(&texts, text, sizeof(text))) == 0);
    }
    container_read(ROOT, &container);
    check(&container);
}

/* The texts that the metadata endpoint has still to give: the container's, then the task's. */
static struct fuzz_texts answers;

int __wrap_http_exchange(const struct http_request *request, struct http_reply **ret, char *why,
                         size_t why_size);

/* In the place of http_exchange() and of what would drop this process's privileges, by the linker's
 * --wrap. */
int __wrap_http_exchange(const struct http_request *request, struct http_reply **ret, char *why,
                         size_t why_size)
{
    struct http_reply *reply = calloc(1, sizeof(*reply));

    (void)request;
    snprintf(why, why_size, "no answer");
    fuzz_expect(reply != NULL);
    fuzz_text(&answers, reply->text, sizeof(reply->text));
    reply->size = strlen(reply->text);
    reply->status = 200;
    *ret = reply;
    return 0;
}

void __wrap_privileges_keep_for_sending(void);

void __wrap_privileges_keep_for_sending(void)
{
}

static void parse_metadata(const char *data, size_t size)
{
    static struct container container;

    answers = (struct fuzz_texts){data, size};
    memset(&container, 0, sizeof(container));
    setenv("ECS_CONTAINER_METADATA_URI_V4", "http://127.0.0.1/v4/x", 1);
    identity_end(identity_begin(&container), &container);
    unsetenv("ECS_CONTAINER_METADATA_URI_V4");
    check(&container);
}

static fuzz_parser *const parsers[] = {parse_files, parse_metadata};
FUZZ_TARGET(parsers)
