#pragma once

/* Signals and their si_code (sigaction(2)) by name. */

#include <stdbool.h>

/* "SEGV_MAPERR", "SI_TKILL"; NULL where it has none. */
const char *signal_code_name(int signo, int code);

/* Whether a process sent the signal: si_pid and si_uid then say who. */
bool signal_code_has_sender(int code);

/* Whether the kernel raised it for an address, which si_addr then says. */
bool signal_code_has_address(int signo, int code);
