#pragma once

/*
 * Parts that are held in memory between the thread that fills them and the one that sends them:
 * never more than two, and of 32 MiB never more than one. Not locked: one lock of their owner's is
 * held over each call.
 */

#include <stdbool.h>
#include <stddef.h>

#define PART_BUFFERS 2

struct part_buffer {
    char *data;
    size_t size; /* of the part that it is for */
    size_t used;
    unsigned number; /* of that part, from 1; 0: the buffer is free */
    bool is_ready;   /* to be sent; until then it belongs to who fills it */
};

/* Zeroed: no memory yet. */
struct part_buffers {
    struct part_buffer buffers[PART_BUFFERS];
    bool is_frugal; /* one at a time, whatever its size */
};

/*
 * Takes a buffer for part @number.
 *
 * Returns 0, -EAGAIN (others have to be given back first), -EFBIG (there is no such part) or
 * -ENOMEM.
 */
int part_buffers_take(struct part_buffers *buffers, unsigned number, struct part_buffer **ret);

/* The buffer of part @number if it is ready to be sent, else NULL. */
struct part_buffer *part_buffers_ready(struct part_buffers *buffers, unsigned number);

/* Gives back the buffer of part @number, which has been sent; there need not be one. */
void part_buffers_give_back(struct part_buffers *buffers, unsigned number);

void part_buffers_free(struct part_buffers *buffers);
