/* corectl: everything about a crash that isn't PID 1's. main only dispatches. */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
} commands[] = {
    {"collect", command_collect,
     "collect --record-fd N    bundle a crash; coreinit calls this after one"},
    {"attach", command_attach,
     "attach (--name NAME | --pid PID) [OPTIONS]    bundle the crashes of another container's "
     "process"},
    {"doctor", command_doctor,
     "doctor [--json] [--crash-test] [PID|--name NAME|-- PROGRAM]    say what a crash would give"},
    {"snapshot", command_snapshot,
     "snapshot [PID|--name NAME] [--out DIR]    bundle a process, which goes on running"},
    {"upload", command_upload,
     "upload (FILE|ID... | --sweep)    send bundles that lie in the cores dir, as far as they "
     "weren't sent"},
    {"gdb", command_gdb,
     "gdb [PID|--name NAME] [-- ARGS...]    debug a process; coreinit traces it again afterwards"},
};

static void usage(FILE *out)
{
    fputs("usage: corectl COMMAND [OPTIONS]\n\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  corectl %s\n", commands[i].usage);
    fputs("  corectl --version\n  corectl --help\n", out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    /* A server that hangs up, or a closed log, is an error to handle and no reason to die. */
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "--version") == 0) {
        puts("corectl version " COREINIT_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "coreinit: error: corectl has no command '%s'\n", name);
    usage(stderr);
    return 1;
}
