#pragma once

/* Being in a coreinit's place, as the collector is that it starts. */

#include <stddef.h>
#include <sys/types.h>

/*
 * Takes on a coreinit's user, groups, environment and working directory, for the rest of this
 * process's life.
 *
 * @lacks  what couldn't be had, for people: "" where nothing is missing
 */
void stand_in_for(pid_t coreinit, char *lacks, size_t lacks_size);
