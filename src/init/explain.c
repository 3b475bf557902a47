#include "init/explain.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "init/gains.h"
#include "init/tracer.h"

static void print(const char *key, const char *value)
{
    printf("%s: ", key);
    for (; *value; value++)
        putchar((unsigned char)*value < ' ' || *value == 0x7f ? '?' : *value);
    putchar('\n');
}

static void print_number(const char *key, uint32_t value)
{
    printf("%s: %u\n", key, value);
}

void explain(const struct options *options, const struct capture_mode *mode, const char *corectl,
             bool has_corectl)
{
    static const char *const answers[] = {"no", "yes"};
    const struct crash_settings *settings = &options->settings;
    const char *program = options->program ? options->program[0] : NULL;
    char not_traceable[256] = "", path[PATH_MAX] = "";

    if (program && !program_find(program, path, sizeof(path)))
        path[0] = '\0';
    (void)tracer_probe(not_traceable, sizeof(not_traceable));
    print("version", COREINIT_VERSION);
    print("program", program ? program : "");
    print("program_path", path);
    print("capture_asked", options_capture_name(options->capture));
    print("capture", mode->name);
    print("why", mode->why);
    print("core_expected", answers[mode->is_core_expected]);
    print("mend", mode->mend);
    print("not_traced", mode->not_traced);
    print("not_traceable", not_traceable);
    print("corectl", corectl);
    print("has_corectl", answers[has_corectl]);
    print("cores_dir", settings->cores_dir);
    print("bucket", settings->bucket);
    print("key_prefix", settings->key_prefix);
    print("region", settings->region);
    print("endpoint", settings->endpoint);
    print("run_id", settings->run_id);
    print("config", settings->config);
    print_number("collect_timeout", settings->collect_timeout);
    print_number("stop_timeout", options->stop_timeout);
}
