/*
 * What memory.py crashes: `mapped FILE TIMES` maps a file that often, privately, so that all of it
 * is in the core as often, and the machine needs no more memory than the file has. Then it aborts.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
    const int fd = argc == 3 ? open(argv[1], O_RDONLY) : -1;
    struct stat file;

    if (fd < 0 || fstat(fd, &file) < 0)
        return 1;
    for (long times = atol(argv[2]); times > 0; times--)
        if (mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
            return 1;
    abort();
}
