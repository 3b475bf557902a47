/* coreinit's command line, environment and ini file. */

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init/options.h"
#include "init/settings.h"
#include "util/cleanup.h"

#include "fuzz.h"

#define MOST_WORDS 16

static void check(const struct options *options)
{
    const struct crash_settings *own = &options->settings;

    fuzz_expect(options->program[0] || options->attach_name[0] || options->attach_pid);
    fuzz_expect(memchr(own->run_id, '\0', sizeof(own->run_id)) != NULL);
    fuzz_expect(memchr(own->bucket, '\0', sizeof(own->bucket)) != NULL);
}

static void read_options(int count, char **words)
{
    static struct options options;
    int status = -1;

    optind = 0; /* getopt(3): it begins anew */
    if (options_read(count, words, &options, &status))
        check(&options);
    else
        fuzz_expect(status == 0 || status == 1);
}

static void parse_command_line(const char *data, size_t size)
{
    static char words[MOST_WORDS][512];
    struct fuzz_texts texts = {data, size};
    char *argv[MOST_WORDS + 1] = {NULL};
    int argc = 0;

    for (strcpy(words[argc], "coreinit"); argc < MOST_WORDS && (argc == 0 || texts.left > 0);
         argc++)
        argv[argc] = argc == 0 ? words[0] : fuzz_text(&texts, words[argc], sizeof(words[argc]));
    read_options(argc, argv);
}

/* The files' names can't be told to it otherwise. */
static void parse_ini(const char *data, size_t size)
{
    _cleanup_close_ int fd = fuzz_file(data, size);
    char config[] = "--config=/proc/self/fd/0123456789", program[] = "program";
    char name[] = "coreinit";
    char *argv[] = {name, config, program, NULL};

    snprintf(strrchr(config, '/') + 1, 11, "%d", fd);
    read_options(3, argv);
}

static void give(const char *variable, const char *value)
{
    if (value[0])
        setenv(variable, value, 1);
    else
        unsetenv(variable);
}

/* A text for each variable, in the order of the table of settings. */
static void parse_environment(const char *data, size_t size)
{
    struct fuzz_texts texts = {data, size};
    char value[4096], name[] = "coreinit", program[] = "program";
    char *argv[] = {name, program, NULL};

    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].environment)
            give(settings[i].environment, fuzz_text(&texts, value, sizeof(value)));
    read_options(2, argv);
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].environment)
            unsetenv(settings[i].environment);
}

static fuzz_parser *const parsers[] = {parse_command_line, parse_ini, parse_environment};
FUZZ_TARGET(parsers)
