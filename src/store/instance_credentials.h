#pragma once

/* The key of the role that an EC2 instance has (imds.h): the last of all sources. */

#include "store/aws_search.h"

/* An aws_source: 0 where the metadata service is disabled, doesn't answer, or knows of no role; the
 * reason is in search->why then, too. */
aws_source instance_credentials;
