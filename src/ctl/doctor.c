/* corectl doctor: whether a crash now would be captured and delivered, and what is in the way. */

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/doctor.h"
#include "util/log.h"

static const struct {
    const char *name;
    doctor_check *look;
} checks[] = {
    {"coreinit", check_coreinit},
    {"capture", check_capture},
    {"core_pattern", check_core_pattern},
    {"core_limits", check_core_limits},
    {"dumpable", check_dumpable},
    {"capabilities", check_capabilities},
    {"seccomp", check_seccomp},
    {"yama", check_yama},
    {"cores_dir", check_cores_dir},
    {"space", check_space},
    {"gdb", check_gdb},
    {"memory", check_memory},
    {"credentials", check_credentials},
    {"bucket", check_bucket},
    {"clock", check_clock},
};
#define N_CHECKS (sizeof(checks) / sizeof(checks[0]))

struct question {
    pid_t pid;
    const char *name;
    char *const *words; /* behind "--"; NULL: none */
    bool as_json, is_crash_test, crashes;
};

static bool misuse(void)
{
    log_error(
        "usage: corectl doctor [--json] [--crash-test] [PID|--name NAME|-- [OPTIONS] PROGRAM] "
        "(coreinit's options, and what it would run)");
    return false;
}

static bool read_question(int argc, char **argv, struct question *ret)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"crash-test", no_argument, NULL, 't'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"pid", required_argument, NULL, 'p'},
                                            {"crash", no_argument, NULL, 'c'}, /* --crash-test's */
                                            {0}};
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            ret->as_json = true;
            break;
        case 't':
            ret->is_crash_test = true;
            break;
        case 'n':
            ret->name = optarg;
            break;
        case 'p':
            if (!target_read_pid(optarg, &ret->pid))
                return false;
            break;
        case 'c':
            ret->crashes = true;
            break;
        default:
            return misuse();
        }
    }
    if (optind > 1 && strcmp(argv[optind - 1], "--") == 0) {
        ret->words = argv + optind;
        return (argv[optind] && !ret->pid && !ret->name) || misuse();
    }
    if (argv[optind] && (ret->pid || ret->name))
        return misuse();
    if (argv[optind] && !target_read_pid(argv[optind++], &ret->pid))
        return false;
    return (!argv[optind] && (!ret->name || (ret->name[0] && !ret->pid))) || misuse();
}

int command_doctor(int argc, char **argv)
{
    static struct doctor doctor;
    static struct finding findings[N_CHECKS];
    struct question question = {0};
    int r;

    if (!read_question(argc, argv, &question))
        return 1;
    if (question.crashes)
        crashes_for_the_doctor();
    if (doctor_gather(question.pid, question.name, question.words, &doctor) < 0)
        return 1;
    if (question.is_crash_test)
        return doctor_crash_test(&doctor, question.as_json) < 0;
    for (size_t i = 0; i < N_CHECKS; i++) {
        findings[i].check = checks[i].name;
        checks[i].look(&doctor, &findings[i]);
    }
    r = question.as_json ? doctor_print_json(&doctor, findings, N_CHECKS)
                         : doctor_print_text(&doctor, findings, N_CHECKS);
    return r < 0 || !doctor_is_well(&doctor);
}
