#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

int write_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t n = write(fd, next, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        next += n;
        size -= (size_t)n;
    }
    return 0;
}

int write_text(int fd, const char *text)
{
    return write_all(fd, text, strlen(text));
}

/* One loop for both; @offset < 0 means the descriptor's own position. */
static ssize_t read_loop(int fd, char *data, size_t size, int64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = offset < 0 ? read(fd, data + done, size - done)
                               : pread(fd, data + done, size - done, offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t read_full(int fd, void *data, size_t size)
{
    return read_loop(fd, data, size, -1);
}

ssize_t pread_full(int fd, void *data, size_t size, uint64_t offset)
{
    return read_loop(fd, data, size, (int64_t)offset);
}

ssize_t read_text_at(int dir_fd, const char *path, char *ret, size_t size)
{
    _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read_full(fd, ret, size - 1);
    if (n < 0)
        return n;
    if (n > 0 && ret[n - 1] == '\n')
        n--;
    ret[n] = '\0';
    return n;
}
