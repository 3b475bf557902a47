#pragma once

/* What the spool's tests share: a directory of its own per test, which is the working one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/spool.h"
#include "util/cleanup.h"
#include "util/digest.h"
#include "util/io.h"

#define ID "fluent-bit_2026-11-21T093000_host_run"
#define JOURNAL "." ID ".journal"

struct dir {
    char path[64];
    struct spool *spool;
};

static inline int set_up(void **state)
{
    struct dir *dir = calloc(1, sizeof(*dir));

    strcpy(dir->path, "/tmp/spool-test-XXXXXX");
    if (!mkdtemp(dir->path) || spool_open(dir->path, &dir->spool) < 0)
        return -1;
    *state = dir;
    return chdir(dir->path);
}

static inline int tear_down(void **state)
{
    struct dir *dir = *state;
    char command[128];
    int r;

    spool_close(dir->spool);
    snprintf(command, sizeof(command), "rm -rf %s", dir->path);
    r = chdir("/") < 0 ? -1 : system(command);
    free(dir);
    return r;
}

#define SPOOL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static inline struct spool *spool_of(void **state)
{
    return ((struct dir *)*state)->spool;
}

/* Another process's view of the same directory, as far as locks go: they belong to open files. */
static inline struct spool *another_spool(void)
{
    struct spool *spool;

    assert_int_equal(spool_open(".", &spool), 0);
    return spool;
}

static inline void make_file(const char *name, const char *text)
{
    _cleanup_close_ int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write_text(fd, text), 0);
}

static inline void assert_holds(const char *name, const char *text)
{
    _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC);
    char found[512] = "";

    assert_true(fd >= 0);
    assert_int_equal(read_full(fd, found, sizeof(found) - 1), strlen(text));
    assert_string_equal(found, text);
}

static inline void assert_absent(const char *name)
{
    struct stat file;

    assert_int_equal(lstat(name, &file), -1);
    assert_int_equal(errno, ENOENT);
}

static inline void assert_present(const char *name)
{
    struct stat file;

    assert_int_equal(lstat(name, &file), 0);
}

/* Writes one whole artifact; returns what failed first. */
static inline int write_artifact(struct spool *spool, const char *name, const char *text)
{
    _cleanup_sink_ struct sink *sink = NULL;
    char hash[65], expected[65];
    int r = spool_sink(spool, name, &sink);

    if (r == 0)
        r = sink_write(sink, text, strlen(text));
    if (r == 0)
        r = sink_commit(sink, hash);
    if (r < 0)
        return r;
    assert_int_equal(sha256_hex(text, strlen(text), expected), 0);
    assert_string_equal(hash, expected);
    return 0;
}

/* A bundle as a process leaves it that has ended. */
static inline void leave_bundle(struct spool *spool, const char *id, bool is_complete)
{
    char name[NAME_MAX + 1];

    assert_int_equal(spool_claim(spool, id), 0);
    snprintf(name, sizeof(name), "%s.core.zip", id);
    assert_int_equal(write_artifact(spool, name, "core"), 0);
    snprintf(name, sizeof(name), "%s.crash.json", id);
    if (is_complete)
        assert_int_equal(write_artifact(spool, name, "{}"), 0);
    spool_release(spool, id);
}

/* A pipe for a child to say that it is there. */
static inline void wait_for_byte(int fd)
{
    char byte;

    assert_int_equal(read(fd, &byte, 1), 1);
}

static inline void reap(pid_t pid, int expected)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, expected);
}
