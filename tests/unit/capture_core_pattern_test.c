/* core_pattern: what the kernel calls a core. */

#include "capture_testing.h"

static const struct core_pattern_subject known = {
    .pid = 7,
    .initial_pid = 4711,
    .tid = 12,
    .initial_tid = 4716,
    .uid = 1000,
    .gid = 100,
    .dumpable = 1,
    .signo = 11,
    .time = 1795000000,
    .cpu = 3,
    .hostname = "web-1",
    .comm = "flb-pipeline",
    .exe = "/fluent-bit/bin/fluent-bit",
    .core_limit = "18446744073709551615",
};

static void expect(const char *pattern, bool uses_pid, const struct core_pattern_subject *who,
                   const char *expected)
{
    char text[1024];

    assert_int_equal(core_pattern_expand(pattern, uses_pid, who, text, sizeof(text)), 0);
    assert_string_equal(text, expected);
}

static void every_specifier_of_core_5_is_expanded(void **state)
{
    static const struct {
        const char *pattern, *expected;
    } cases[] = {
        {"core", "core"},
        {"%%", "%"},
        {"%p", "7"},
        {"%P", "4711"},
        {"%i", "12"},
        {"%I", "4716"},
        {"%u", "1000"},
        {"%g", "100"},
        {"%d", "1"},
        {"%s", "11"},
        {"%t", "1795000000"},
        {"%h", "web-1"},
        {"%e", "flb-pipeline"},
        {"%f", "fluent-bit"},
        {"%E", "!fluent-bit!bin!fluent-bit"},
        {"%C", "3"},
        {"%c", "18446744073709551615"},
        {"/cores/core.%e.%p.%s.%t", "/cores/core.flb-pipeline.7.11.1795000000"},
        {"%p%p%%p", "77%p"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(cases[i].pattern, false, &known, cases[i].expected);
}

static void what_is_not_known_becomes_a_wildcard(void **state)
{
    const struct core_pattern_subject unknown = CORE_PATTERN_SUBJECT_UNKNOWN;
    char pattern[3] = "%?", text[16];

    (void)state;
    for (const char *letter = "pPiIugdsthefECc"; *letter; letter++) {
        pattern[1] = *letter;
        assert_int_equal(core_pattern_expand(pattern, false, &unknown, text, sizeof(text)), 0);
        assert_string_equal(text, "*");
    }
    expect("core", true, &unknown, "core.*");
}

static void unknown_specifiers_and_a_last_percent_are_dropped(void **state)
{
    (void)state;
    expect("core%z.%p%", false, &known, "core.7");
    expect("core%F", false, &known, "core");
    expect("core%%%", false, &known, "core%");
}

static void core_uses_pid_adds_the_pid_unless_the_pattern_has_it(void **state)
{
    (void)state;
    expect("core", true, &known, "core.7");
    expect("core.%p", true, &known, "core.7");
    expect("core%%p", true, &known, "core%p.7");
    expect("core.%P.%i", true, &known, "core.4711.12.7");
    expect("", true, &known, ".7");
}

static void names_that_a_process_chooses_make_no_path(void **state)
{
    struct core_pattern_subject who = known;

    (void)state;
    who.comm = "../../etc";
    expect("%e", false, &who, "..!..!etc");
    who.comm = ".";
    expect("/%e/core", false, &who, "/!/core");
    who.comm = "..";
    expect("/%e/core", false, &who, "/!./core");
    who.comm = "";
    expect("%e.core", false, &who, "!.core");
    who.comm = "...";
    expect("%e", false, &who, "...");
    who.hostname = "a/b";
    expect("%h", false, &who, "a!b");
    who.exe = "/";
    expect("%E %f", false, &who, "! !");
}

static void what_glob_would_read_as_a_pattern_is_escaped(void **state)
{
    struct core_pattern_subject who = known;

    (void)state;
    who.comm = "*?[a]\\";
    expect("%e", false, &who, "\\*\\?\\[a]\\\\");
    expect("core[1].*", false, &who, "core\\[1].\\*");
}

static void pipes_sockets_and_empty_patterns_name_no_file(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(core_pattern_kind("|/usr/lib/systemd/systemd-coredump %P", false),
                     CORE_PATTERN_PIPE);
    assert_int_equal(core_pattern_kind("@/run/coredump.socket", true), CORE_PATTERN_SOCKET);
    assert_int_equal(core_pattern_kind("@@/run/coredump.socket", true), CORE_PATTERN_SOCKET);
    assert_int_equal(core_pattern_kind("", false), CORE_PATTERN_EMPTY);
    assert_int_equal(core_pattern_kind("", true), CORE_PATTERN_FILE);
    assert_int_equal(core_pattern_kind("core", false), CORE_PATTERN_FILE);
    assert_int_equal(core_pattern_kind(" |x", false), CORE_PATTERN_FILE);

    assert_int_equal(core_pattern_expand("|x", false, &known, text, sizeof(text)), -ENOTSUP);
    assert_int_equal(core_pattern_expand("@x", false, &known, text, sizeof(text)), -ENOTSUP);
    assert_int_equal(core_pattern_expand("", false, &known, text, sizeof(text)), -EOPNOTSUPP);
    assert_int_equal(core_pattern_expand("%", false, &known, text, sizeof(text)), -EOPNOTSUPP);
    assert_int_equal(core_pattern_expand("%F%z", false, &known, text, sizeof(text)), -EOPNOTSUPP);
}

static void a_result_that_does_not_fit_is_an_error(void **state)
{
    char text[8];

    (void)state;
    assert_int_equal(core_pattern_expand("core.%p", false, &known, text, 7), 0);
    assert_string_equal(text, "core.7");
    assert_int_equal(core_pattern_expand("core.%p", false, &known, text, 6), -ENAMETOOLONG);
    assert_int_equal(core_pattern_expand("core*", false, &known, text, 6), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_specifier_of_core_5_is_expanded),
        cmocka_unit_test(what_is_not_known_becomes_a_wildcard),
        cmocka_unit_test(unknown_specifiers_and_a_last_percent_are_dropped),
        cmocka_unit_test(core_uses_pid_adds_the_pid_unless_the_pattern_has_it),
        cmocka_unit_test(names_that_a_process_chooses_make_no_path),
        cmocka_unit_test(what_glob_would_read_as_a_pattern_is_escaped),
        cmocka_unit_test(pipes_sockets_and_empty_patterns_name_no_file),
        cmocka_unit_test(a_result_that_does_not_fit_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
