/* corectl upload: sends bundles that lie in a directory, by hand or as coreinit's sweeper. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/explained.h"
#include "ctl/low_priority.h"
#include "ctl/privileges.h"
#include "ctl/record.h"
#include "ctl/sweep.h"
#include "ctl/target.h"
#include "util/cleanup.h"
#include "util/log.h"

/* A bundle, or some of its artifacts, as the command line names them. */
struct wanted {
    char directory[PATH_MAX];
    char id[NAME_MAX + 1];
    unsigned kinds; /* bits of enum artifact_kind */
};

static int usage(void)
{
    log_error("usage: corectl upload FILE|ID... or corectl upload --sweep: FILE is an artifact of "
              "a bundle, or its crash.json for all of it");
    return 1;
}

/* What the coreinit here was told; where none runs, what one would be told here. */
static int ask_settings(struct crash_settings *ret)
{
    static struct explained explained;
    bool is_only;
    const pid_t coreinit = target_coreinit(&is_only);

    if (!is_only) {
        log_error("several coreinits run here, and nobody knows whose settings are meant: run this "
                  "in the container of one");
        return -EEXIST;
    }
    explained_here(coreinit, "corectl", &explained);
    if (explained.error[0]) {
        log_error("where bundles are to go isn't known: %s", explained.error);
        return -EINVAL;
    }
    *ret = explained.settings;
    ret->log_level = log_max_level;
    return 0;
}

static int find_settings(long record_fd, struct crash_settings *ret)
{
    static struct crash_record record;
    int r;

    if (record_fd < 0) {
        r = ask_settings(ret);
    } else {
        r = record_read((int)record_fd, &record);
        *ret = record.settings;
        log_max_level = record.settings.log_level;
    }
    if (r == 0 && !ret->bucket[0]) {
        log_error("there is no bucket to send to: set S3_BUCKET");
        r = -EINVAL;
    }
    return r;
}

/* A name without a directory is that of a file here, or what it is in the cores dir. */
static int find_directory(const char *file, const struct crash_settings *settings,
                          char ret[PATH_MAX])
{
    const char *slash = strrchr(file, '/');
    _cleanup_free_ char *there = NULL;

    if (!slash && access(file, F_OK) < 0) {
        strcpy(ret, settings->cores_dir);
        return ret[0] ? 0 : -ENOENT;
    }
    there = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup(".");
    if (!there)
        return -ENOMEM;
    return realpath(there, ret) ? 0 : -errno;
}

/* Takes an artifact's suffix off a name. Returns whether it has one. */
static bool take_suffix(const char *name, size_t *length, unsigned *ret_kinds)
{
    *ret_kinds = ALL_KINDS;
    for (int kind = 0; kind < ARTIFACT_KINDS; kind++) {
        const size_t suffix = strlen(artifact_suffixes[kind]);

        if (*length <= suffix || strcmp(name + *length - suffix, artifact_suffixes[kind]) != 0)
            continue;
        if (kind != ARTIFACT_CRASH_JSON)
            *ret_kinds = 1u << kind;
        *length -= suffix;
        return true;
    }
    return false;
}

static int read_file_argument(const char *file, const struct crash_settings *settings,
                              struct wanted *ret)
{
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    const bool is_there = access(file, F_OK) == 0;
    size_t length = strlen(name);
    const bool is_artifact = take_suffix(name, &length, &ret->kinds);
    int r;

    if (is_artifact && slash && !is_there)
        return log_errno(ENOENT, "%s can't be sent", file);
    /* What is there and has no artifact's name isn't an id either. */
    if ((is_there && !is_artifact) || length == 0 || length > NAME_MAX || name[0] == '.') {
        log_error("%s can't be sent: it is no file of a bundle", file);
        return -EINVAL;
    }
    memcpy(ret->id, name, length);
    ret->id[length] = '\0';
    r = find_directory(file, settings, ret->directory);
    return r < 0 ? log_errno(r, "%s can't be sent", file) : 0;
}

/* Files of one bundle are sent together. Returns the number of bundles. */
static size_t add_wanted(struct wanted *wanted, size_t n, const struct wanted *more)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(wanted[i].id, more->id) == 0 &&
            strcmp(wanted[i].directory, more->directory) == 0) {
            wanted[i].kinds |= more->kinds;
            return n;
        }
    wanted[n] = *more;
    return n + 1;
}

static void send_wanted(struct sweep *sweep, struct wanted *wanted, size_t n)
{
    const char *directory = "";

    for (size_t i = 0; i < n; i++) {
        if (strcmp(directory, wanted[i].directory) != 0) {
            directory = "";
            if (sweep_open(sweep, wanted[i].directory) < 0) {
                sweep->n_failed++;
                continue;
            }
            directory = wanted[i].directory;
        }
        (void)sweep_bundle(sweep, wanted[i].id, wanted[i].kinds);
    }
}

static int upload_files(struct sweep *sweep, char **files, size_t n_files)
{
    _cleanup_free_ struct wanted *wanted = calloc(n_files, sizeof(*wanted));
    static struct wanted more;
    size_t n = 0;

    if (!wanted)
        return log_errno(ENOMEM, "cannot send %zu files", n_files);
    for (size_t i = 0; i < n_files; i++) {
        if (read_file_argument(files[i], sweep->settings, &more) < 0)
            sweep->n_failed++;
        else
            n = add_wanted(wanted, n, &more);
    }
    send_wanted(sweep, wanted, n);
    return 0;
}

static int upload_all(struct sweep *sweep)
{
    int r;

    if (!sweep->settings->cores_dir[0]) {
        log_error("there is nothing to sweep: --cores-dir is none");
        return -EINVAL;
    }
    r = sweep_open(sweep, sweep->settings->cores_dir);
    if (r == 0)
        sweep_all(sweep);
    return r;
}

int command_upload(int argc, char **argv)
{
    static const struct option options[] = {
        {"sweep", no_argument, NULL, 's'}, {"record-fd", required_argument, NULL, 'r'}, {0}};
    static struct crash_settings settings;
    struct progress progress = {0};
    struct sweep sweep;
    bool sweeps = false;
    char *end = "";
    long fd = -1;
    int c, r, status;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            sweeps = true;
        else if (c == 'r')
            fd = strtol(optarg, &end, 10);
        else
            return usage();
    }
    if (sweeps == (optind < argc) || *end || fd < -1 || fd > INT_MAX || (fd >= 0 && !sweeps))
        return usage();
    if (find_settings(fd, &settings) < 0)
        return 1;
    if (fd >= 0)
        low_priority();
    else
        progress_init(&progress);
    privileges_keep_for_sweeping();
    r = sweep_begin(&sweep, &settings, &progress);
    if (r == 0)
        r = sweeps ? upload_all(&sweep)
                   : upload_files(&sweep, argv + optind, (size_t)(argc - optind));
    status = sweep_end(&sweep);
    return r < 0 && status == 0 ? 1 : status;
}
