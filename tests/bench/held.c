/*
 * What stop.py kills: `held MIB` fills that much memory, starts seven idle threads, prints "ready",
 * and waits some calls deep in its main thread.
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 7
#define DEPTH 16

/* As a heap is: of each page a quarter words like pointers and numbers, and the rest zeros. */
static void fill(uint64_t *memory, size_t size)
{
    uint64_t state = 88172645463325252u;

    for (size_t page = 0; page < size / 8; page += 512)
        for (size_t i = 0; i < 128; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            memory[page + i] = i % 2 ? (uintptr_t)memory + state % size : state & 0xffff;
        }
}

static void *idle(void *argument)
{
    for (;;)
        pause();
    return argument;
}

__attribute__((noinline)) static int descend(int depth)
{
    if (depth > 0)
        return descend(depth - 1) + 1;
    puts("ready");
    fflush(stdout);
    return pause();
}

int main(int argc, char **argv)
{
    const size_t size = argc == 2 ? strtoull(argv[1], NULL, 10) << 20 : 0;
    uint64_t *memory = malloc(size + 1);
    pthread_t thread;

    if (!memory)
        return 1;
    fill(memory, size);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, idle, NULL) != 0)
            return 1;
    return descend(DEPTH);
}
