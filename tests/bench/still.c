/*
 * A process that measures how long it stands still: a thread reads the clock all the time.
 *
 *     still MIB [small]    that much memory, in small pages only
 *
 * For each line of its input it says: "gap", the longest time between two looks since the last
 * line; "touch", how long it takes to write to every page. Both in milliseconds.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static atomic_long longest;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *look(void *unused)
{
    int64_t last = now_ns();

    for (;;) {
        const int64_t now = now_ns();

        if (now - last > longest)
            longest = now - last;
        last = now;
    }
    return unused;
}

int main(int argc, char **argv)
{
    const size_t size = strtoul(argv[1], NULL, 10) << 20;
    volatile char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char line[16];
    pthread_t thread;

    if (memory == MAP_FAILED)
        return 1;
    if (argc > 2)
        (void)madvise((void *)memory, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += 64)
        memory[at] = (char)(at >> 6 ^ at >> 14);
    pthread_create(&thread, NULL, look, NULL);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        const int64_t began = now_ns();

        if (line[0] == 'g') {
            printf("%.3f\n", (double)longest / 1e6);
            longest = 0;
        } else {
            for (size_t at = 0; at < size; at += 4096)
                memory[at]++;
            printf("%.3f\n", (double)(now_ns() - began) / 1e6);
        }
        fflush(stdout);
    }
}
