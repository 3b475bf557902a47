/*
 * corectl attach: watches a process of another container that shares the pid namespace. It is
 * coreinit that does so, and calls corectl back for each crash.
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/own_path.h"

/* As this command is called, and as coreinit calls it. */
static const char *const options[][2] = {{"--name", "--attach-name"}, {"--pid", "--attach-pid"}};

int command_attach(int argc, char **argv)
{
    _cleanup_free_ const char **arguments = calloc((size_t)argc + 1, sizeof(*arguments));
    char coreinit[PATH_MAX];
    const char *option = NULL;
    int r;

    for (size_t i = 0; argc >= 3 && i < sizeof(options) / sizeof(options[0]); i++)
        if (strcmp(argv[1], options[i][0]) == 0)
            option = options[i][1];
    if (!option) {
        log_error("usage: corectl attach (--name NAME | --pid PID) [OPTIONS of coreinit]");
        return 1;
    }
    r = arguments ? own_path("coreinit", coreinit, sizeof(coreinit)) : -ENOMEM;
    if (r < 0) {
        log_errno(r, "cannot find coreinit");
        return 1;
    }
    memcpy(arguments, argv, (size_t)argc * sizeof(*arguments));
    arguments[0] = coreinit;
    arguments[1] = option;
    (void)signal(SIGPIPE, SIG_DFL);
    execv(coreinit, (char *const *)arguments);
    log_errno(errno, "cannot execute %s", coreinit);
    return 127;
}
