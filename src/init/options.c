#include "init/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <ini.h>

#include "init/settings.h"
#include "init/usage.h"
#include "util/cleanup.h"
#include "util/log.h"

/* Where each setting's value came from so far: a lower source doesn't overwrite a higher one. */
struct sources {
    bool is_set[SETTINGS];
};

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

/* What the command line says apart from the settings of the table, which follow: each has a value
 * of its own, else getopt_long() takes an abbreviation that fits several for the first one. */
enum { OPTION_HELP = 256, OPTION_VERSION, OPTION_EXPLAIN, OPTION_SETTING };

static bool set_setting(struct options *options, struct sources *sources, size_t i,
                        const char *value)
{
    const char *wrong = setting_set(&settings[i], options, value);

    if (wrong)
        return misuse("--%s '%s' %s", settings[i].option, value, wrong);
    sources->is_set[i] = true;
    return true;
}

static bool read_command_line(int argc, char **argv, struct options *options,
                              struct sources *sources, int *verbosity, bool *ret_shown)
{
    struct option names[SETTINGS + 5];
    size_t n = 0;
    int c;

    names[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    names[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    names[n++] = (struct option){"quiet", no_argument, NULL, 'q'};
    names[n++] = (struct option){"explain", no_argument, NULL, OPTION_EXPLAIN};
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].option)
            names[n++] = (struct option){settings[i].option, required_argument, NULL,
                                         OPTION_SETTING + (int)i};
    names[n] = (struct option){0};

    opterr = 0;
    /* '+': the first word that is no option is the program; what follows is the program's own. */
    while ((c = getopt_long(argc, argv, "+:p:hvwgle:sq", names, NULL)) != -1) {
        if (c >= OPTION_SETTING) {
            if (!set_setting(options, sources, (size_t)(c - OPTION_SETTING), optarg))
                return false;
            continue;
        }
        switch (c) {
        case 'h':
        case OPTION_HELP:
            printf("coreinit " COREINIT_VERSION "\n%s%s", usage_line, usage_help);
            *ret_shown = true;
            return true;
        case OPTION_VERSION:
            puts("coreinit version " COREINIT_VERSION);
            *ret_shown = true;
            return true;
        case 'l':
            fputs(usage_licence, stdout);
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
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        const char *value = setting->environment ? getenv(setting->environment) : NULL;
        const char *wrong;

        /* Task definitions leave a variable empty for "not set". */
        if (sources->is_set[i] || !value || !value[0])
            continue;
        wrong = setting_set(setting, options, value);
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

    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        const char *wrong;

        if (!setting->key || strcmp(setting->section, section) || strcmp(setting->key, key))
            continue;
        if (reader->sources->is_set[i])
            return 1;
        wrong = setting_set(setting, reader->options, value);
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

/* What contradicts itself, wherever it was said. */
static bool check(const struct options *options)
{
    const struct crash_settings *own = &options->settings;

    if ((options->attach_name[0] || options->attach_pid) && options->on_crash != ON_CRASH_EXIT)
        return misuse("--on-crash %s is for a program that coreinit starts: it doesn't go with "
                      "--attach-name and --attach-pid",
                      options_on_crash_name(options->on_crash));
    if (own->sse_kms_key_id[0] && strncmp(own->sse, "aws:kms", strlen("aws:kms")) != 0)
        return misuse("S3_SSE_KMS_KEY_ID goes with S3_SSE=aws:kms or aws:kms:dsse alone");
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
    for (size_t i = 0; i < SETTINGS; i++)
        (void)setting_set(&settings[i], ret, settings[i].initial);
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

    if (!read_environment(ret, &sources) || !read_ini(ret, &sources) || !check(ret))
        return false;
    if (!ret->settings.run_id[0])
        make_run_id(ret->settings.run_id, sizeof(ret->settings.run_id));
    ret->settings.log_level = log_max_level;
    return true;
}
