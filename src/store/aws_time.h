#pragma once

#include <stdint.h>

/*
 * Reads a time as AWS's services write it (ISO 8601: "2026-11-21T18:51:02Z", maybe with a fraction
 * of the second, maybe with an offset like +01:00 or +0100).
 *
 * @ret  CLOCK_REALTIME, seconds
 *
 * Returns 0 or -EINVAL.
 */
int aws_time_parse(const char *text, int64_t *ret);
