#pragma once

/* corectl's subcommands, one file each. They return an exit status. */

/* corectl collect --record-fd N: bundles the crash that coreinit recorded. */
int command_collect(int argc, char **argv);

/* corectl doctor [--json] [--crash-test] [PID|--name NAME|-- [OPTIONS] PROGRAM]: what a crash would
 * give. Exit status 0 only where it would be captured and delivered. */
int command_doctor(int argc, char **argv);

/* corectl attach (--name NAME | --pid PID): bundles the crashes of another container's process. */
int command_attach(int argc, char **argv);

/* corectl snapshot [PID|--name NAME] [--out DIR]: bundles a process that goes on. */
int command_snapshot(int argc, char **argv);

/* corectl gdb [PID|--name NAME] [-- GDB-ARGS...]: gdb on a process that coreinit may trace. */
int command_gdb(int argc, char **argv);

/* corectl upload FILE|ID... | --sweep [--record-fd N]: sends what lies in the cores dir. Exit
 * status 0 where all of it is in the bucket, EX_TEMPFAIL (75) where it is left for the next try,
 * else 1. */
int command_upload(int argc, char **argv);
