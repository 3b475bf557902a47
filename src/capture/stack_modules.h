#pragma once

/* The program and its libraries, given to libdw. */

#include <elfutils/libdwfl.h>

#include "capture/core_info.h"

/*
 * Reports every module of a process to libdw: the file if it is still the one that was mapped, else
 * what the memory holds of it, and the kernel's vdso from the memory. One that can't be had is left
 * out.
 *
 * @memory_fd  what info->memory lies in
 * @exe_path   where the executable can be read, or NULL
 *
 * Returns 0 or -ENOEXEC (libdw refuses, its words are logged).
 */
int stack_report_modules(Dwfl *dwfl, int memory_fd, const char *exe_path,
                         const struct core_info *info);
