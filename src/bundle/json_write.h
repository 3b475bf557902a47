#pragma once

/* A JSON text as the spool and S3 get it: indented, ended by a newline. */

#include <jansson.h>

#include "bundle/sink.h"

/* Writes it to a sink (not committed). Returns 0, -ENOMEM or -errno of the sink. */
int json_write(const json_t *json, struct sink *sink);
