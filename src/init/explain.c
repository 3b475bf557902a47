#include "init/explain.h"

#include <inttypes.h>
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

static void print_number(const char *key, uint64_t value)
{
    printf("%s: %" PRIu64 "\n", key, value);
}

void explain(const struct options *options, const struct capture_mode *mode, const char *corectl,
             bool has_corectl)
{
    static const char *const answers[] = {"no", "yes"}, *const keep_locals[] = {KEEP_LOCAL_NAMES};
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
    print("on_crash", options_on_crash_name(options->on_crash));
    print_number("restart_limit", options->restart_limit);
    print_number("linger_minutes", options->linger_minutes);
    print("report", options->reports_exits ? "exits" : "crashes");
#define TEXT(field) print(#field, settings->field);
#define YES_OR_NO(field) print(#field, answers[settings->field]);
#define KEEP(field) print(#field, keep_locals[settings->field]);
#define NUMBER(field) print_number(#field, settings->field);
#define SIZE(field) print_number(#field, settings->field);
#define PRINT(kind, field) kind(field)
    CRASH_SETTINGS(PRINT)
}
