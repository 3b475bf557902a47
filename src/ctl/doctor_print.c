/* What doctor found, as text and as JSON (doctor.schema.json). */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/json_value.h"
#include "ctl/doctor.h"
#include "util/cleanup.h"

/* Text is wrapped behind this column, and indented by so much. */
#define WIDTH 100
#define INDENT 9

/* Most causes that the verdict names. */
#define MOST_CAUSES 2

static const char *const state_names[] = {
    [CHECK_OK] = "ok",
    [CHECK_WARNING] = "warning",
    [CHECK_FAIL] = "FAIL",
    [CHECK_SKIPPED] = "skipped",
};

void finding_is(struct finding *ret, enum check_state state, const char *format, ...)
{
    va_list arguments;

    ret->state = state;
    va_start(arguments, format);
    vsnprintf(ret->finding, sizeof(ret->finding), format, arguments);
    va_end(arguments);
}

void finding_means(struct finding *ret, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret->meaning, sizeof(ret->meaning), format, arguments);
    va_end(arguments);
}

void finding_mend(struct finding *ret, const char *docker, const char *ecs, const char *kubernetes)
{
    ret->docker = docker;
    ret->ecs = ecs;
    ret->kubernetes = kubernetes;
}

const char *size_text(uint64_t bytes, char *ret, size_t size)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(ret, size, "%.*f %s", unit > 0 && value < 10 ? 1 : 0, value, units[unit]);
    return ret;
}

const char *doctor_destination(const struct doctor *doctor)
{
    if (doctor->coreinit.settings.bucket[0])
        return doctor->probe.destination[0] ? doctor->probe.destination
                                            : doctor->coreinit.settings.bucket;
    return doctor->coreinit.settings.cores_dir;
}

bool doctor_is_well(const struct doctor *doctor)
{
    return doctor->prospect.is_bundled && doctor->prospect.has_core && doctor->is_delivered;
}

/* "A crash now would …": one sentence; to be freed; NULL where there is no memory. */
static char *verdict(const struct doctor *doctor, const struct finding *findings, size_t n)
{
    char *text = NULL;
    size_t size = 0, causes = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    if (doctor_is_well(doctor)) {
        fprintf(out, "A crash now would be captured (%s) and delivered to %s.",
                doctor->prospect.mode, doctor_destination(doctor));
    } else {
        if (doctor->coreinit.error[0] && doctor->subject == SUBJECT_PROGRAM)
            fputs("It isn't known whether a crash now would be captured", out);
        else if (!doctor->prospect.is_bundled)
            fputs("A crash now would not be captured", out);
        else if (!doctor->prospect.has_core)
            fputs("A crash now would not be captured with its core", out);
        else
            fputs("A crash now would not be delivered", out);
        for (size_t i = 0; i < n && causes < MOST_CAUSES; i++)
            if (findings[i].state == CHECK_FAIL)
                fprintf(out, "%s %s: %s", causes++ ? ";" : ":", findings[i].check,
                        findings[i].finding);
        fputc('.', out);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* Some of it was chosen by others, and goes to a terminal. */
static void put_clean(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];

        putchar(c < ' ' || c == 0x7f ? '?' : c);
    }
}

/* Prints a paragraph from a column on, broken at blanks. */
static void print_wrapped(const char *text, size_t column)
{
    for (bool is_first = true; *text; is_first = false) {
        const size_t blanks = strspn(text, " "), length = strcspn(text + blanks, " ");

        if (!is_first && column + blanks + length > WIDTH) {
            printf("\n%*s", INDENT, "");
            column = INDENT;
        } else {
            printf("%*s", (int)blanks, "");
            column += blanks;
        }
        put_clean(text + blanks, length);
        column += length;
        text += blanks + length;
    }
    putchar('\n');
}

static void print_line(const char *label, const char *text)
{
    if (!text || !text[0])
        return;
    printf("%*s%s", INDENT, "", label);
    print_wrapped(text, INDENT + strlen(label));
}

/* Where the orchestrator is known, the others' mends don't apply. */
static void print_mends(const struct doctor *doctor, const struct finding *finding)
{
    const enum orchestrator here = doctor->container.orchestrator;

    if (finding->docker && finding->docker == finding->ecs && finding->ecs == finding->kubernetes) {
        print_line("Mend: ", finding->docker);
        return;
    }
    if (here == ORCHESTRATOR_UNKNOWN)
        print_line("Docker: ", finding->docker);
    if (here != ORCHESTRATOR_KUBERNETES)
        print_line("ECS: ", finding->ecs);
    if (here != ORCHESTRATOR_ECS)
        print_line("Kubernetes: ", finding->kubernetes);
}

static int flush(void)
{
    return fflush(stdout) != 0 || ferror(stdout) ? -EIO : 0;
}

int doctor_print_text(const struct doctor *doctor, const struct finding *findings, size_t n)
{
    _cleanup_free_ char *sentence = verdict(doctor, findings, n);

    if (!sentence)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct finding *finding = &findings[i];

        printf("%-*s%s: ", INDENT, state_names[finding->state], finding->check);
        print_wrapped(finding->finding, INDENT + strlen(finding->check) + 2);
        print_line("", finding->meaning);
        if (finding->state == CHECK_WARNING || finding->state == CHECK_FAIL)
            print_mends(doctor, finding);
    }
    putchar('\n');
    put_clean(sentence, strlen(sentence));
    putchar('\n');
    return flush();
}

static json_t *text_value(const char *text)
{
    return json_known_text(text, text ? strlen(text) : 0);
}

static json_t *finding_value(const struct finding *finding)
{
    const bool has_mend = finding->state == CHECK_WARNING || finding->state == CHECK_FAIL;
    const struct json_field mend[] = {
        {"docker", text_value(has_mend ? finding->docker : NULL)},
        {"ecs", text_value(has_mend ? finding->ecs : NULL)},
        {"kubernetes", text_value(has_mend ? finding->kubernetes : NULL)},
        {0},
    };
    const struct json_field fields[] = {
        {"check", text_value(finding->check)},
        {"state", text_value(state_names[finding->state])},
        {"finding", text_value(finding->finding)},
        {"meaning", text_value(finding->meaning)},
        {"mend", json_object_of(mend)},
        {0},
    };

    return json_object_of(fields);
}

static json_t *verdict_value(const struct doctor *doctor, const char *sentence)
{
    const struct prospect *prospect = &doctor->prospect;
    const struct json_field fields[] = {
        {"captured", json_boolean(prospect->is_bundled)},
        {"mode", text_value(prospect->mode)},
        {"core", json_boolean(prospect->has_core)},
        {"no_core", text_value(prospect->has_core ? NULL : prospect->no_core)},
        {"delivered", json_boolean(doctor->is_delivered)},
        {"destination", text_value(doctor_destination(doctor))},
        {"prediction", json_boolean(doctor->subject == SUBJECT_PREDICTION)},
        {"pid", json_known_integer(doctor->target.pid > 0, doctor->target.pid)},
        {"ok", json_boolean(doctor_is_well(doctor))},
        {"sentence", text_value(sentence)},
        {0},
    };

    return json_object_of(fields);
}

static json_t *findings_value(const struct finding *findings, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, finding_value(&findings[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

int doctor_print_json(const struct doctor *doctor, const struct finding *findings, size_t n)
{
    _cleanup_free_ char *sentence = verdict(doctor, findings, n);
    const struct json_field fields[] = {
        {"version", json_integer(1)},
        {"checks", findings_value(findings, n)},
        {"verdict", verdict_value(doctor, sentence)},
        {0},
    };
    json_t *all = json_object_of(fields);
    const int r = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;

    json_decref(all);
    if (r < 0)
        return -ENOMEM;
    putchar('\n');
    return flush();
}
