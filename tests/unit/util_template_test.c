/* Names that a template such as core_pattern may have made. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/template.h"

struct example {
    const char *template, *text;
    bool matches;
};

static void check(const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (template_matches(examples[i].template, examples[i].text) != examples[i].matches)
            fail_msg("'%s' and '%s'", examples[i].template, examples[i].text);
}

#define CHECK(examples) check(examples, sizeof(examples) / sizeof((examples)[0]))

static void text_without_specifiers_matches_itself_alone(void **state)
{
    static const struct example examples[] = {
        {"core", "core", true}, {"core", "cores", false}, {"core", "cor", false},
        {"core", "", false},    {"", "", true},           {"", "core", false},
        {"*", "core", false},   {"c?re", "core", false},  {"[c]ore", "[c]ore", true},
    };

    (void)state;
    CHECK(examples);
}

static void a_specifier_stands_for_any_text(void **state)
{
    static const struct example examples[] = {
        {"core.%p", "core.123", true},
        {"core.%p", "core.", true},
        {"core.%p", "core", false},
        {"%e", "anything at all", true},
        {"%e.%p.core", "a.b.c.1.core", true},
        {"%e.%p.core", "a.core", false},
        {"%e.%p.core", "a.1.core.zip", false},
        {"%e-%h-%p", "a-b-c-d", true},
        {"%e%p%t.core", "x.core.core", true},
        {"core.%e.%p", "kore.a.1", false},
        {"%e.core%s", "a.corb.core", true},
        {"%e.%p.core.part", "a.1.core", false},
        {"a%eb%eb", "ab", false},
        {"a%eb%eb", "abb", true},
    };

    (void)state;
    CHECK(examples);
}

static void a_doubled_percent_sign_is_one(void **state)
{
    static const struct example examples[] = {
        {"100%%", "100%", true},   {"100%%", "100%%", false},  {"%%p", "%p", true},
        {"%%p", "123", false},     {"%e%%%p", "a%1", true},    {"%e%%%p", "a1", false},
        {"core.%", "core.", true}, {"core.%", "core.1", true},
    };

    (void)state;
    CHECK(examples);
}

static void many_specifiers_take_no_longer(void **state)
{
    char template[127] = "", text[256];

    (void)state;
    for (size_t i = 0; i + 4 < sizeof(template); i += 3)
        strcat(template, "%ea");
    strcat(template, "b");
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(template_matches(template, text)); /* by trying all ways: after 10^38 steps */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_without_specifiers_matches_itself_alone),
        cmocka_unit_test(a_specifier_stands_for_any_text),
        cmocka_unit_test(a_doubled_percent_sign_is_one),
        cmocka_unit_test(many_specifiers_take_no_longer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
