/*
 * Built with -fsanitize=address: at its end LeakSanitizer traces it (ptrace(2)) from a process of
 * the same memory, looks for leaks, and has it fail where there are some.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *idle(void *argument)
{
    for (;;)
        pause();
    return argument;
}

int main(int argc, char **argv)
{
    const int leaks = argc > 1 && strcmp(argv[1], "leak") == 0;
    pthread_t thread;
    void *volatile memory;

    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, idle, NULL);
    memory = malloc(100);
    if (!leaks)
        free(memory);
    memory = NULL;
    return memory != NULL;
}
