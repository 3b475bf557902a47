#include "store/part_buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_parts.h"

/* Parts from this size on are held one at a time: two of them are all the memory there may be. */
#define ALONE_BYTES ((size_t)32 << 20)

static void forget(struct part_buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof(*buffer));
}

int part_buffers_take(struct part_buffers *buffers, unsigned number, struct part_buffer **ret)
{
    const size_t size = s3_stream_part_bytes(number);
    const bool is_alone = buffers->is_frugal || size >= ALONE_BYTES;
    struct part_buffer *buffer = NULL;

    if (size == 0)
        return -EFBIG;
    for (size_t i = 0; i < PART_BUFFERS; i++) {
        if (buffers->buffers[i].number == 0)
            buffer = &buffers->buffers[i];
        else if (is_alone)
            return -EAGAIN;
    }
    if (!buffer)
        return -EAGAIN;
    if (is_alone && size != buffer->size) /* nor is there memory beside it */
        part_buffers_free(buffers);
    if (size != buffer->size)
        forget(buffer);
    if (!buffer->data)
        buffer->data = malloc(size);
    if (!buffer->data)
        return -ENOMEM;
    *buffer = (struct part_buffer){.data = buffer->data, .size = size, .number = number};
    *ret = buffer;
    return 0;
}

struct part_buffer *part_buffers_ready(struct part_buffers *buffers, unsigned number)
{
    for (size_t i = 0; i < PART_BUFFERS; i++)
        if (buffers->buffers[i].number == number && buffers->buffers[i].is_ready)
            return &buffers->buffers[i];
    return NULL;
}

void part_buffers_give_back(struct part_buffers *buffers, unsigned number)
{
    for (size_t i = 0; i < PART_BUFFERS; i++)
        if (buffers->buffers[i].number == number)
            buffers->buffers[i].number = 0;
}

void part_buffers_free(struct part_buffers *buffers)
{
    for (size_t i = 0; i < PART_BUFFERS; i++)
        forget(&buffers->buffers[i]);
}
