#include "init/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <ini.h>

#include "util/cleanup.h"
#include "util/log.h"

#define DEFAULT_CONFIG "/etc/coreinit.ini"
#define MAX_TIMEOUT (7 * 24 * 3600)

/* Stores a value into a struct options. Returns NULL, or what is wrong with it. */
typedef const char *setting_parser(struct options *options, size_t offset, size_t size,
                                   const char *value);

static const char *set_text(struct options *options, size_t offset, size_t size, const char *value)
{
    if (strlen(value) >= size)
        return "is too long";
    strcpy((char *)options + offset, value);
    return NULL;
}

/* A relative directory would mean another one to the collector than to the program. */
static const char *set_path(struct options *options, size_t offset, size_t size, const char *value)
{
    if (value[0] != '/')
        return "is not an absolute path";
    return set_text(options, offset, size, value);
}

static const char *const capture_names[] = {[CAPTURE_AUTO] = "auto",
                                            [CAPTURE_KERNEL] = "kernel",
                                            [CAPTURE_PTRACE] = "ptrace",
                                            [CAPTURE_OFF] = "off"};

const char *options_capture_name(enum capture_choice choice)
{
    return capture_names[choice];
}

static const char *set_capture(struct options *options, size_t offset, size_t size,
                               const char *value)
{
    (void)offset;
    (void)size;
    for (size_t i = 0; i < sizeof(capture_names) / sizeof(capture_names[0]); i++)
        if (strcmp(value, capture_names[i]) == 0) {
            options->capture = (enum capture_choice)i;
            return NULL;
        }
    return "is none of auto, kernel, ptrace, off";
}

static const char *set_timeout(struct options *options, size_t offset, size_t size,
                               const char *value)
{
    char *end;
    unsigned long seconds;

    (void)size;
    errno = 0;
    seconds = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || seconds > MAX_TIMEOUT)
        return "is not a number of seconds from 0 (no limit) to 604800";
    *(uint32_t *)((char *)options + offset) = (uint32_t)seconds;
    return NULL;
}

static const char *set_pid(struct options *options, size_t offset, size_t size, const char *value)
{
    char *end;
    unsigned long pid;

    (void)size;
    errno = 0;
    pid = strtoul(value, &end, 10);
    if (value[0] < '1' || value[0] > '9' || *end || errno || pid > INT_MAX)
        return "is not a process's number";
    *(uint32_t *)((char *)options + offset) = (uint32_t)pid;
    return NULL;
}

/* Every setting of coreinit's own, with its three names; NULL where it lacks one. */
static const struct setting {
    const char *option, *environment, *section, *key, *initial;
    setting_parser *parse;
    size_t offset, size;
} settings[] = {
#define AT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field)
    {"cores-dir", "COREINIT_CORES_DIR", "", "cores_dir", "/cores", set_path,
     AT(settings.cores_dir)},
    {"capture", "COREINIT_CAPTURE", "", "capture", "auto", set_capture, AT(capture)},
    {"collect-timeout", "COREINIT_COLLECT_TIMEOUT", "", "collect_timeout", "600", set_timeout,
     AT(settings.collect_timeout)},
    {NULL, "COREINIT_STOP_TIMEOUT", NULL, NULL, "30", set_timeout, AT(stop_timeout)},
    {"config", "COREINIT_CONFIG", NULL, NULL, "", set_path, AT(settings.config)},
    {"attach-name", NULL, NULL, NULL, "", set_text, AT(attach_name)},
    {"attach-pid", NULL, NULL, NULL, "", set_pid, AT(attach_pid)},
    {NULL, "S3_BUCKET", "s3", "bucket", "", set_text, AT(settings.bucket)},
    {NULL, "S3_KEY_PREFIX", "s3", "key_prefix", "issue", set_text, AT(settings.key_prefix)},
    {NULL, "RUN_ID", NULL, NULL, "", set_text, AT(settings.run_id)},
    /* The environment's AWS_REGION and AWS_ENDPOINT_URL* are corectl's to read, as the SDKs do. */
    {NULL, NULL, "s3", "region", "", set_text, AT(settings.region)},
    {NULL, NULL, "s3", "endpoint", "", set_text, AT(settings.endpoint)},
#undef AT
};
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* Where each setting's value came from so far: a lower source doesn't overwrite a higher one. */
struct sources {
    bool is_set[N_SETTINGS];
};

static const char usage_line[] =
    "usage: coreinit [-s] [-g] [-w] [-v] [-q] [-p SIGNAL] [-e CODE] [--cores-dir DIR] "
    "[--capture MODE] [--collect-timeout SEC] [--config FILE] [--] PROGRAM [ARGS...]\n";

static const char help_text[] =
    "\n"
    "Runs PROGRAM as an init does, and leaves a bundle when it crashes.\n"
    "\n"
    "Options, as tini's:\n"
    "  -g             send signals to the program's process group (TINI_KILL_PROCESS_GROUP)\n"
    "  -e CODE        count exit status CODE as 0; can be repeated\n"
    "  -p SIGNAL      get SIGNAL when the parent process dies, e.g. -p SIGKILL\n"
    "  -s             be a subreaper (TINI_SUBREAPER); coreinit always is where it isn't PID 1\n"
    "  -w             warn when a process that isn't the program is reaped\n"
    "  -v             say more; can be repeated (TINI_VERBOSITY: 0 errors ... 3 debug)\n"
    "  -l             show the licence\n"
    "  -h, --help     show this\n"
    "  --version      show the version\n"
    "\n"
    "Options of its own, their environment twins and ini keys (option > environment > ini):\n"
    "  --cores-dir DIR        COREINIT_CORES_DIR        cores_dir        default /cores\n"
    "  --capture MODE         COREINIT_CAPTURE          capture          auto, kernel, ptrace, "
    "off\n"
    "  --collect-timeout SEC  COREINIT_COLLECT_TIMEOUT  collect_timeout  default 600, 0: none\n"
    "  --config FILE          COREINIT_CONFIG           -                default " DEFAULT_CONFIG
    "\n"
    "  -q, --quiet            no banner\n"
    "  --attach-name NAME     start nothing; wait for a process of another container in the same\n"
    "                         pid namespace, trace it and bundle its crash, again and again;\n"
    "                         NAME as ps(1) shows it (corectl attach --name NAME)\n"
    "  --attach-pid PID       the same of one process, until it ends (corectl attach --pid PID)\n"
    "  --explain              start nothing; print what would be decided here, a line each\n"
    "\n"
    "Environment:\n"
    "  S3_BUCKET, S3_KEY_PREFIX (default issue), RUN_ID (default random), and AWS_* as the\n"
    "  AWS SDKs read them. COREINIT_CORECTL: where corectl is, if not beside coreinit.\n"
    "  COREINIT_STOP_TIMEOUT: seconds that the runtime leaves after SIGTERM, default 30.\n"
    "\n"
    "Exit status: the program's, or 128+signal; 127 not found, 126 not executable; 1 misuse.\n";

static const char licence_text[] =
    "coreinit " COREINIT_VERSION "\n"
    "\n"
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this\n"
    "software and associated documentation files (the \"Software\"), to deal in the Software\n"
    "without restriction, including without limitation the rights to use, copy, modify, merge,\n"
    "publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons\n"
    "to whom the Software is furnished to do so, subject to the following conditions:\n"
    "\n"
    "The above copyright notice and this permission notice shall be included in all copies or\n"
    "substantial portions of the Software.\n"
    "\n"
    "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,\n"
    "INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR\n"
    "PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE\n"
    "FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR\n"
    "OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER\n"
    "DEALINGS IN THE SOFTWARE.\n"
    "\n"
    "This program contains glibc (LGPL-2.1+), libcap (BSD-3-Clause) and inih (BSD-3-Clause).\n";

/* One clear line and a usage line: coreinit's own misuse. */
#define misuse(...) (log_error(__VA_ARGS__), fputs(usage_line, stderr), false)

static bool set_signal(struct options *options, const char *value)
{
    const char *name = strncmp(value, "SIG", 3) == 0 ? value + 3 : value;

    for (int signo = 1; signo < NSIG; signo++) {
        const char *abbreviation = sigabbrev_np(signo);

        if (abbreviation && strcmp(abbreviation, name) == 0) {
            options->parent_death_signal = signo;
            return true;
        }
    }
    return misuse("-p %s: no such signal; write it as SIGKILL", value);
}

static bool set_expected(struct options *options, const char *value)
{
    char *end;
    unsigned long status = strtoul(value, &end, 10);

    if (value[0] < '0' || value[0] > '9' || *end || status > 255)
        return misuse("-e %s: not an exit status from 0 to 255", value);
    options->is_expected[status] = true;
    return true;
}

/* tini's scale: 0 errors only, 1 warnings (and the banner), 2 info, 3 debug. */
static void set_verbosity(int verbosity)
{
    static const enum log_level levels[] = {LEVEL_ERROR, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG};

    if (verbosity < 0)
        verbosity = 0;
    log_max_level = levels[verbosity > 3 ? 3 : verbosity];
}

/* What the command line says apart from the settings of the table. */
enum { OPTION_HELP = 256, OPTION_VERSION, OPTION_EXPLAIN, OPTION_SETTING };

static bool read_command_line(int argc, char **argv, struct options *options,
                              struct sources *sources, int *verbosity, bool *ret_shown)
{
    struct option names[N_SETTINGS + 5];
    size_t indices[N_SETTINGS + 5];
    size_t n = 0;
    int c, which;

    names[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    names[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    names[n++] = (struct option){"quiet", no_argument, NULL, 'q'};
    names[n++] = (struct option){"explain", no_argument, NULL, OPTION_EXPLAIN};
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (settings[i].option) {
            indices[n] = i;
            names[n++] =
                (struct option){settings[i].option, required_argument, NULL, OPTION_SETTING};
        }
    names[n] = (struct option){0};

    opterr = 0;
    /* '+': the first word that is no option is the program; what follows is the program's own. */
    while ((c = getopt_long(argc, argv, "+:p:hvwgle:sq", names, &which)) != -1) {
        switch (c) {
        case 'h':
        case OPTION_HELP:
            printf("coreinit " COREINIT_VERSION "\n%s%s", usage_line, help_text);
            *ret_shown = true;
            return true;
        case OPTION_VERSION:
            puts("coreinit version " COREINIT_VERSION);
            *ret_shown = true;
            return true;
        case 'l':
            fputs(licence_text, stdout);
            *ret_shown = true;
            return true;
        case OPTION_EXPLAIN:
            options->explains = true;
            break;
        case 's': /* always done where it means something */
            break;
        case 'g':
            options->kill_group = true;
            break;
        case 'w':
            options->warn_on_reap = true;
            break;
        case 'v':
            ++*verbosity;
            break;
        case 'q':
            options->quiet = true;
            break;
        case 'p':
            if (!set_signal(options, optarg))
                return false;
            break;
        case 'e':
            if (!set_expected(options, optarg))
                return false;
            break;
        case OPTION_SETTING: {
            const struct setting *setting = &settings[indices[which]];
            const char *wrong = setting->parse(options, setting->offset, setting->size, optarg);

            if (wrong)
                return misuse("--%s '%s' %s", setting->option, optarg, wrong);
            sources->is_set[indices[which]] = true;
            break;
        }
        case ':':
            return misuse("%s needs a value", argv[optind - 1]);
        default:
            return optopt ? misuse("unknown option -%c", optopt)
                          : misuse("unknown option %s", argv[optind - 1]);
        }
    }
    options->program = argv + optind;
    if (!options->attach_name[0] && !options->attach_pid)
        return options->program[0] ? true : misuse("no program to run");
    if (options->attach_name[0] && options->attach_pid)
        return misuse("--attach-name and --attach-pid exclude each other");
    return options->program[0] ? misuse("%s is not started: coreinit is to attach to a process",
                                        options->program[0])
                               : true;
}

static bool read_environment(struct options *options, struct sources *sources)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        const char *value = setting->environment ? getenv(setting->environment) : NULL;
        const char *wrong;

        /* Task definitions leave a variable empty for "not set". */
        if (sources->is_set[i] || !value || !value[0])
            continue;
        wrong = setting->parse(options, setting->offset, setting->size, value);
        if (wrong)
            return misuse("%s='%s' %s", setting->environment, value, wrong);
        sources->is_set[i] = true;
    }
    return true;
}

struct ini_reader {
    struct options *options;
    struct sources *sources;
    const char *path;
    FILE *file;
    unsigned line;
    unsigned long_line; /* the first one that inih's buffer can't hold */
    bool is_wrong;
};

/* inih's fgets(). Left to itself, it takes the rest of a line that is too long for the next line.
 */
static char *read_ini_line(char *line, int size, void *context)
{
    struct ini_reader *reader = context;
    char *got = fgets(line, size, reader->file);

    reader->line++;
    if (got && !strchr(line, '\n') && !feof(reader->file) && !reader->long_line)
        reader->long_line = reader->line;
    return reader->long_line ? NULL : got;
}

/* inih calls this for each key; returning 0 counts as that line's error. */
static int read_ini_key(void *context, const char *section, const char *key, const char *value)
{
    struct ini_reader *reader = context;

    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        const char *wrong;

        if (!setting->key || strcmp(setting->section, section) || strcmp(setting->key, key))
            continue;
        if (reader->sources->is_set[i])
            return 1;
        wrong = setting->parse(reader->options, setting->offset, setting->size, value);
        if (!wrong)
            return 1;
        log_error("%s: %s = '%s' %s", reader->path, key, value, wrong);
        reader->is_wrong = true;
        return 0;
    }
    log_error("%s: unknown key '%s' in section [%s]", reader->path, key, section);
    reader->is_wrong = true;
    return 0;
}

static bool read_ini(struct options *options, struct sources *sources)
{
    struct crash_settings *own = &options->settings;
    struct ini_reader reader = {.options = options, .sources = sources};
    bool is_default = !own->config[0];
    _cleanup_fclose_ FILE *file = NULL;
    int r;

    if (is_default)
        strcpy(own->config, DEFAULT_CONFIG);
    file = fopen(own->config, "re");
    if (!file && is_default && (errno == ENOENT || errno == ENOTDIR)) {
        own->config[0] = '\0';
        return true;
    }
    if (!file)
        return misuse("cannot read %s: %s", own->config, strerrordesc_np(errno));
    reader.path = own->config;
    reader.file = file;
    r = ini_parse_stream(read_ini_line, &reader, read_ini_key, &reader);
    if (reader.long_line)
        return misuse("%s:%u: the line is too long or binary", own->config, reader.long_line);
    if (reader.is_wrong)
        return misuse("%s is not used, and nothing was started: mend the line above", own->config);
    if (r > 0)
        return misuse("%s:%d: neither a [section] nor KEY = VALUE", own->config, r);
    if (r < 0 || ferror(file))
        return misuse("cannot read %s", own->config);
    return true;
}

/* What RUN_ID is when nobody gives one: tells the lives of a task apart. */
static void make_run_id(char *ret, size_t size)
{
    uint32_t random[2];

    if (getrandom(random, sizeof(random), GRND_NONBLOCK) != sizeof(random)) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        random[0] = (uint32_t)now.tv_nsec;
        random[1] = (uint32_t)getpid();
    }
    snprintf(ret, size, "%08x%04x", random[0], random[1] & 0xffff);
}

bool options_read(int argc, char **argv, struct options *ret, int *ret_exit)
{
    struct sources sources = {0};
    const char *verbosity_text = getenv("TINI_VERBOSITY");
    const char *called = argc > 0 ? strrchr(argv[0], '/') : NULL;
    int verbosity = 1;
    bool shown = false;

    *ret_exit = 1;
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < N_SETTINGS; i++)
        settings[i].parse(ret, settings[i].offset, settings[i].size, settings[i].initial);
    ret->settings.config[0] = '\0';

    /* Under another init's name nobody expects a word: `docker run --init` calls docker-init. */
    called = called ? called + 1 : argc > 0 ? argv[0] : "";
    ret->quiet = strcmp(called, "tini") == 0 || strcmp(called, "docker-init") == 0;
    ret->kill_group = getenv("TINI_KILL_PROCESS_GROUP") != NULL;

    if (!read_command_line(argc, argv, ret, &sources, &verbosity, &shown))
        return false;
    if (shown) {
        *ret_exit = 0;
        return false;
    }
    /* tini lets the environment's word on verbosity stand over -v. */
    if (verbosity_text)
        verbosity = atoi(verbosity_text);
    set_verbosity(verbosity);
    if ((ret->quiet || ret->explains) && log_max_level == LEVEL_NOTICE)
        log_max_level = LEVEL_WARNING;

    if (!read_environment(ret, &sources) || !read_ini(ret, &sources))
        return false;
    if (!ret->settings.run_id[0])
        make_run_id(ret->settings.run_id, sizeof(ret->settings.run_id));
    ret->settings.log_level = log_max_level;
    return true;
}
