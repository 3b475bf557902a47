#pragma once

/* A sink that keeps what it is given, and can be told to fail. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bundle/sink.h"

struct memory_sink {
    struct sink sink;
    uint8_t *data;
    size_t size, room;
    unsigned writes;
    unsigned fail_at; /* this write and those after it fail with -ENOSPC; 0: none does */
};

static int memory_write(struct sink *sink, const void *data, size_t size)
{
    struct memory_sink *memory = (struct memory_sink *)sink;

    memory->writes++;
    if (memory->fail_at > 0 && memory->writes >= memory->fail_at)
        return -ENOSPC;
    if (memory->size + size > memory->room) {
        memory->room = 2 * (memory->size + size);
        memory->data = realloc(memory->data, memory->room);
        assert_non_null(memory->data);
    }
    memcpy(memory->data + memory->size, data, size);
    memory->size += size;
    return 0;
}

static int memory_commit(struct sink *sink)
{
    (void)sink;
    return 0;
}

static void memory_close(struct sink *sink)
{
    struct memory_sink *memory = (struct memory_sink *)sink;

    free(memory->data);
    free(memory);
}

static struct memory_sink *memory_sink(unsigned fail_at)
{
    static const struct sink_ops ops = {memory_write, memory_commit, memory_close};
    struct memory_sink *memory = calloc(1, sizeof(*memory));

    assert_non_null(memory);
    memory->fail_at = fail_at;
    assert_int_equal(sink_init(&memory->sink, &ops), 0);
    return memory;
}
