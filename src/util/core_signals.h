#pragma once

#include <stdbool.h>

/* True for signals whose default action is a core dump (signal(7), "Core"). */
bool signal_dumps_core(int signo);
