#include "util/pid_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"

/* linux/dirent.h isn't exported; getdents64(2) documents the layout. */
struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

int pid_reader_open(struct pid_reader *reader, const char *path)
{
    reader->size = reader->at = 0;
    reader->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return reader->fd < 0 ? -errno : 0;
}

int pid_reader_open_threads(struct pid_reader *reader, pid_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    return pid_reader_open(reader, path);
}

pid_t pid_reader_next(struct pid_reader *reader)
{
    pid_t pid = 0;

    while (pid <= 0) {
        const struct directory_entry *entry;

        if (reader->at == reader->size) {
            reader->at = 0;
            reader->size =
                syscall(SYS_getdents64, reader->fd, reader->buffer, sizeof(reader->buffer));
            if (reader->size <= 0) {
                reader->size = 0;
                return 0;
            }
        }
        entry = (const void *)(reader->buffer + reader->at);
        reader->at += entry->size;
        pid = (pid_t)atoi(entry->name);
    }
    return pid;
}

void pid_reader_close(struct pid_reader *reader)
{
    close_fd(reader->fd);
    reader->fd = -1;
}
