#pragma once

#include <stdbool.h>

/*
 * Whether a text may be an expansion of a template in which % and the character behind it, if any,
 * stand for any text, also for none, and %% for a percent sign. Its time is bounded by the product
 * of the two lengths.
 */
bool template_matches(const char *template, const char *text);
