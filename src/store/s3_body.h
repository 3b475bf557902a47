#pragma once

/* A request's payload. */

#include <stdint.h>

/* Memory, or where @data is NULL a range of a file, whose position is left alone. */
struct s3_body {
    const void *data;
    int fd;
    uint64_t offset;
    uint64_t size;
};
