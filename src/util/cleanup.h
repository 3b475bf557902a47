#pragma once

/*
 * Resources that release themselves when their variable leaves its scope, so that every early
 * return is safe. Declare the lifetime where the resource is declared:
 *
 *         _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes a descriptor if it is one; errno is kept, so this is safe on error paths. */
static inline void close_fd(int fd)
{
    if (fd >= 0) {
        int saved = errno;

        close(fd);
        errno = saved;
    }
}

static inline void cleanup_close(int *fd)
{
    close_fd(*fd);
}

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Takes a descriptor out of its cleanup variable: the caller owns it from here on. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Takes a pointer out of its cleanup variable: the caller owns it from here on. */
#define take_ptr(pointer)                                                                          \
    ({                                                                                             \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })
