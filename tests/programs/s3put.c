/*
 * Drives the store layer for the tests, settings from the environment:
 *
 *     s3put put NAME FILE          a file: in one piece up to 16 MiB, in parts above
 *     s3put resume NAME FILE ID    a file in parts, going on with an upload that was left
 *     s3put stream NAME            standard input, in parts out of memory
 *
 * SIGTERM sets the deadline to now. An upload that fails is left with S3PUT_LEAVE=yes, else it is
 * aborted; its id is the line "upload ID". "progress BYTES resumed PARTS" is what was counted. The
 * last line on standard output is "sent SIZE SHA256" or "failed ERRNO WORDS"; exit status 0 or 1, 2
 * where s3_open() refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/s3.h"
#include "store/s3_upload.h"
#include "util/child.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"
#include "util/log.h"

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}

static bool is_yes(const char *name)
{
    return strcmp(variable(name), "yes") == 0;
}

static void *wait_for_term(void *context)
{
    sigset_t term;
    int signal;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigwait(&term, &signal);
    s3_set_deadline(context, monotonic_ns());
    return NULL;
}

static void on_progress(void *context, uint64_t bytes)
{
    *(uint64_t *)context += bytes;
}

/* What is sent: a file, or where it is NULL standard input. */
struct source {
    int fd;
    uint64_t size, done;
    char *memory;
};

/* The next part, of at most @size bytes; an empty one is the end. */
static int next_body(struct source *source, uint64_t size, struct s3_body *ret)
{
    ssize_t n;

    if (!source->memory) {
        uint64_t left = source->size - source->done;

        *ret = (struct s3_body){
            .fd = source->fd, .offset = source->done, .size = left < size ? left : size};
    } else {
        n = read_full(STDIN_FILENO, source->memory, size);
        if (n < 0)
            return (int)n;
        *ret = (struct s3_body){.data = source->memory, .fd = -1, .size = (uint64_t)n};
    }
    source->done += ret->size;
    return 0;
}

static int send_parts(struct s3 *s3, const char *name, const char *resume_id, struct source *source)
{
    struct s3_upload upload = {0};
    struct s3_body body;
    uint64_t size = source->memory ? s3_stream_part_bytes(1) : s3_file_part_bytes(source->size);
    int r = s3_upload_begin(s3, name, resume_id, &upload);

    printf("upload %s\n", upload.id ? upload.id : "");
    while (r == 0 && (r = next_body(source, size, &body)) == 0 && body.size > 0)
        r = s3_upload_part(&upload, &body);
    if (r == 0)
        r = s3_upload_complete(&upload);
    printf("resumed %u\n", upload.n_resumed);
    if (r < 0 && is_yes("S3PUT_LEAVE"))
        s3_upload_leave(&upload);
    else
        s3_upload_end(&upload);
    return r;
}

static int send_source(struct s3 *s3, char *argv[], struct source *source)
{
    const struct s3_body whole = {.fd = source->fd, .size = source->size};

    if (strcmp(argv[1], "put") == 0 && source->size <= S3_SINGLE_PUT_BYTES)
        return s3_put_object(s3, argv[2], &whole);
    return send_parts(s3, argv[2], strcmp(argv[1], "resume") == 0 ? argv[4] : NULL, source);
}

static int open_source(char *argv[], struct source *ret)
{
    struct stat file;

    if (strcmp(argv[1], "stream") == 0) {
        ret->memory = malloc(s3_stream_part_bytes(1));
        return ret->memory ? 0 : -ENOMEM;
    }
    ret->fd = open(argv[3], O_RDONLY | O_CLOEXEC);
    if (ret->fd < 0 || fstat(ret->fd, &file) < 0)
        return log_errno(errno, "cannot open %s", argv[3]);
    ret->size = (uint64_t)file.st_size;
    return 0;
}

int main(int argc, char *argv[])
{
    const struct s3_settings settings = {
        .bucket = variable("S3_BUCKET"),
        .key_prefix = variable("S3_KEY_PREFIX"),
        .sse = variable("S3_SSE"),
        .sse_kms_key_id = variable("S3_SSE_KMS_KEY_ID"),
        .storage_class = variable("S3_STORAGE_CLASS"),
        .tags = variable("S3_TAGS"),
        .expected_bucket_owner = variable("S3_EXPECTED_BUCKET_OWNER"),
        .request_payer = variable("S3_REQUEST_PAYER"),
        .checksum = variable("S3_CHECKSUM"),
        .crash_id = variable("CRASH_ID"),
        .allow_http = is_yes("S3_ALLOW_HTTP"),
        .upload_rate = strtoull(variable("UPLOAD_RATE"), NULL, 10),
    };
    struct source source = {.fd = -1};
    char hash[2 * SHA256_BYTES + 1] = "";
    uint64_t progress = 0;
    pthread_t thread;
    sigset_t term;
    struct s3 *s3;
    int r;

    log_max_level = LEVEL_DEBUG;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    if (argc < 3 || open_source(argv, &source) < 0 || s3_open(&settings, &s3) < 0)
        return 2;
    if (pthread_create(&thread, NULL, wait_for_term, s3) != 0)
        return 2;
    s3_on_progress(s3, on_progress, &progress);
    r = send_source(s3, argv, &source);

    pthread_cancel(thread); /* sigwait(3) is a cancellation point */
    pthread_join(thread, NULL);
    printf("progress %" PRIu64 "\n", progress);
    if (r < 0)
        printf("failed %s %s\n", strerrorname_np(-r), s3_last_error(s3));
    else if (source.fd >= 0)
        r = sha256_hex_range(source.fd, 0, source.size, hash);
    if (r < 0)
        s3_report(s3, argv[2]);
    else
        printf("sent %" PRIu64 " %s\n", source.memory ? source.done : source.size, hash);
    s3_close(s3);
    free(source.memory);
    close_fd(source.fd);
    return r < 0;
}
