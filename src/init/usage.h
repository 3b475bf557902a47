#pragma once

/* What coreinit prints about itself. */

extern const char usage_line[];
extern const char usage_help[];    /* what follows the usage line after --help */
extern const char usage_licence[]; /* -l, as tini's */
