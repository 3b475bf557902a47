#pragma once

/* Telling processes apart by where they lay in memory: the kernel loads a position-independent
 * executable at a random address. */

#include "capture/core_info.h"

enum core_layout {
    CORE_LAYOUT_UNKNOWN, /* the maps don't have the core's executable */
    CORE_LAYOUT_SAME,
    CORE_LAYOUT_ELSEWHERE,
};

/*
 * Compares where the executable of a core lies with mappings that were read while a process of its
 * pid lived (core_info_from_maps()).
 */
enum core_layout core_layout_compare(const struct core_info *maps, const struct core_info *core);
