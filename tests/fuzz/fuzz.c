#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/io.h"

void fuzz_expect(int holds)
{
    if (!holds)
        abort();
}

void fuzz_dispatch(fuzz_parser *const *parsers, size_t count, const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] >= '0' && data[0] < '0' + count)
        parsers[data[0] - '0']((const char *)data + 1, size - 1);
}

int fuzz_file(const void *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    fuzz_expect(fd >= 0 && write_all(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

char *fuzz_text(struct fuzz_texts *texts, char *ret, size_t size)
{
    size_t length = strnlen(texts->at, texts->left);
    size_t part = length < size ? length : size - 1;

    memcpy(ret, texts->at, part);
    ret[part] = '\0';
    length += length < texts->left;
    texts->at += length;
    texts->left -= length;
    return ret;
}

char *fuzz_whole(const char *data, size_t size)
{
    char *text = malloc(size + 1);

    fuzz_expect(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
