/*
 * Drives the store layer for the tests, settings from the environment:
 *
 *     s3put put NAME FILE      through s3_put_file()
 *     s3put stream NAME        standard input through s3_sink()
 *
 * The last line on standard output is "sent SIZE SHA256" or "failed ERRNO WORDS"; exit status 0 or
 * 1, 2 where s3_open() refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/s3.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"
#include "util/log.h"

#define CHUNK_BYTES ((size_t)1 << 20)

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}

static int put(struct s3 *s3, const char *name, const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char words[256], hash[2 * SHA256_BYTES + 1];
    struct stat file;
    int r;

    if (fd < 0 || fstat(fd, &file) < 0)
        return log_errno(errno, "cannot open %s", path);
    r = s3_put_file(s3, name, fd, (uint64_t)file.st_size, words, sizeof(words));
    if (r < 0) {
        printf("failed %s %s\n", strerrorname_np(-r), words);
        return r;
    }
    r = sha256_hex_range(fd, 0, (uint64_t)file.st_size, hash);
    if (r == 0)
        printf("sent %llu %s\n", (unsigned long long)file.st_size, hash);
    return r;
}

static int stream_into(struct sink *sink, char *chunk, char *ret_hash)
{
    ssize_t n;

    while ((n = read_full(STDIN_FILENO, chunk, CHUNK_BYTES)) > 0) {
        int r = sink_write(sink, chunk, (size_t)n);

        if (r < 0)
            return r;
    }
    return n < 0 ? (int)n : sink_commit(sink, ret_hash);
}

static int stream(struct s3 *s3, const char *name)
{
    _cleanup_sink_ struct sink *sink = NULL;
    _cleanup_free_ char *chunk = malloc(CHUNK_BYTES);
    char hash[2 * SHA256_BYTES + 1];
    int r = chunk ? s3_sink(s3, name, &sink) : -ENOMEM;

    if (r == 0)
        r = stream_into(sink, chunk, hash);
    if (r < 0)
        printf("failed %s %s\n", strerrorname_np(-r), s3_last_error(s3));
    else
        printf("sent %llu %s\n", (unsigned long long)sink->size, hash);
    return r;
}

int main(int argc, char *argv[])
{
    const struct s3_settings settings = {.bucket = variable("S3_BUCKET"),
                                         .key_prefix = variable("S3_KEY_PREFIX"),
                                         .region = "",
                                         .endpoint = ""};
    struct s3 *s3;
    int r;

    log_max_level = LEVEL_DEBUG;
    if (argc < 3 || s3_open(&settings, &s3) < 0)
        return 2;
    if (strcmp(argv[1], "put") == 0 && argc == 4)
        r = put(s3, argv[2], argv[3]);
    else
        r = stream(s3, argv[2]);
    s3_close(s3);
    return r < 0;
}
