#pragma once

/* corectl's subcommands, one file each. They return an exit status. */

/* corectl collect --record-fd N: bundles the crash that coreinit recorded. */
int command_collect(int argc, char **argv);
