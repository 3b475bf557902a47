#pragma once

/* The numbers in a directory of procfs: processes of /proc, threads of /proc/PID/task. Nothing here
 * allocates, as readdir(3) would. */

#include <sys/types.h>

struct pid_reader {
    int fd;
    long size, at; /* bytes of the buffer that are filled, and told */
    _Alignas(8) char buffer[4096];
};

/* Begins to read a directory. Returns 0 or -errno; pid_reader_close() is due in both cases. */
int pid_reader_open(struct pid_reader *reader, const char *path);

/* The same of a process's threads. */
int pid_reader_open_threads(struct pid_reader *reader, pid_t pid);

/* The next number, or 0 at the end. */
pid_t pid_reader_next(struct pid_reader *reader);

void pid_reader_close(struct pid_reader *reader);
