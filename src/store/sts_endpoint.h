#pragma once

/* Which server STS is. */

#include "store/aws_search.h"

struct sts_endpoint {
    char url[1024];
    char region[64]; /* that requests are signed for */
};

/* As sts_assume_role() describes it. Returns 0, or -EINVAL with search->why. */
int sts_endpoint_find(const struct aws_search *search, struct sts_endpoint *ret);
