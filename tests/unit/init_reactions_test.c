/* What is done when, where a test of the whole would take an hour or the kernel's worst mood. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "init/reactions.h"
#include "util/child.h"

static struct options options;
static struct capture_mode mode;
static struct init state_of_init;

static struct init *init_at(enum doing doing)
{
    struct init *init = &state_of_init;

    memset(init, 0, sizeof(*init));
    memset(&options, 0, sizeof(options));
    init->options = &options;
    init->mode = &mode;
    init->doing = doing;
    init->collecting.deadline = INT64_MAX;
    init->collecting.release_fd = init->oom.fd = init->tracer.calls_fd = -1;
    return init;
}

static void lingering_ends(void **state)
{
    struct init *init = init_at(LINGERING);

    (void)state;
    react(init, PAUSE_OVER, 0);
    assert_int_equal(init->doing, DONE);
    init = init_at(LINGERING);
    react(init, STOP_SIGNAL, SIGTERM);
    assert_int_equal(init->doing, DONE);
}

static void what_happens_while_it_lingers_costs_it_no_time(void **state)
{
    struct init *init = init_at(LAST);
    int64_t end;

    (void)state;
    options.linger_minutes = 60;
    react(init, COLLECTED_LINGERS, 0);
    assert_int_equal(init->doing, LINGERING);
    end = init->pause_end;
    assert_in_range(end - monotonic_ms(), 3590000, 3600000);
    init->doing = LAST; /* a process of the container crashed */
    react(init, COLLECTED_LINGERS, 0);
    assert_int_equal(init->doing, LINGERING);
    assert_int_equal(init->pause_end, end);
}

static void nobody_who_is_asked_to_stop_goes_on_as_before(void **state)
{
    static const struct {
        enum doing doing, next;
    } stops[] = {{LAST, STOPPING}, {PAUSED, DONE}, {PAUSED_BUSY, STOPPING}, {LINGERING, DONE}};

    (void)state;
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        struct init *init = init_at(stops[i].doing);

        react(init, STOP_SIGNAL, SIGTERM);
        assert_int_equal(init->doing, stops[i].next);
    }
}

static void a_program_that_is_still_stopping_has_no_more_time_than_before(void **state)
{
    const int64_t now = monotonic_ms();
    struct init *init = init_at(LEAVING);

    (void)state;
    stopping_ask(&init->stopping, SIGTERM, 30, now);
    react(init, COLLECTED_ALIVE, 0); /* of a worker's crash */
    assert_int_equal(init->doing, RUNNING);
    assert_int_equal(stopping_deadline(&init->stopping, now), now + 28000);

    init = init_at(LEAVING);
    stopping_ask(&init->stopping, SIGQUIT, 30, now); /* a thread dump, of Java */
    react(init, COLLECTED_ALIVE, 0);
    assert_int_equal(stopping_deadline(&init->stopping, now), INT64_MAX);
}

/* The first is at the network, its core taken; the second waits. */
static int64_t deadline_once_it_crashed_again(const char *cores_dir)
{
    struct init *init = init_at(BUSY);

    options.on_crash = ON_CRASH_RESTART;
    strcpy(options.settings.cores_dir, cores_dir);
    init->collecting.told = INT64_MAX;
    init->collecting.is_let_go = true;
    init->n_waiting = 1;
    init->waiting[0].is_program = true;
    react(init, CRASHED, 0);
    return init->collecting.deadline;
}

static void a_bundle_makes_way_for_the_next_where_its_rest_is_on_the_disk(void **state)
{
    (void)state;
    assert_in_range(deadline_once_it_crashed_again("/cores") - monotonic_ms(), 1, 30000);
    assert_int_equal(deadline_once_it_crashed_again(""), INT64_MAX);
}

static void after_the_collection_of_what_stops_nothing_lingers(void **state)
{
    struct init *init = init_at(STOPPING);

    (void)state;
    react(init, COLLECTED_LINGERS, 0);
    assert_int_equal(init->doing, DONE);
}

/* As one in an NFS server's hands: it isn't ours, and lives on. */
static void a_collector_that_does_not_die_is_left_behind(void **state)
{
    struct init *init = init_at(STOPPING);
    const pid_t child = fork();

    (void)state;
    if (child == 0) {
        pause();
        _exit(0);
    }
    init->collecting.pid = child;
    init->collecting.is_let_go = true;
    init->collecting.is_killed = true;
    init->collecting.record.exe_fd = init->collecting.record.root_fd = -1;
    init->collecting.record.maps_fd = init->collecting.record.threads_fd = -1;
    init->collecting.record.mem_fd = init->collecting.record.smaps_fd = -1;
    init->collecting.record.pagemap_fd = init->collecting.record.release_fd = -1;
    react(init, OVERDUE, 0);
    assert_int_equal(init->collecting.pid, 0);
    react(init, COLLECTED, 0);
    assert_int_equal(init->doing, DONE);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void what_cannot_happen_changes_nothing(void **state)
{
    (void)state;
    for (enum event event = 0; event < N_EVENTS; event++) {
        struct init *init = init_at(DONE);

        react(init, event, 0);
        assert_int_equal(init->doing, DONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lingering_ends),
        cmocka_unit_test(what_happens_while_it_lingers_costs_it_no_time),
        cmocka_unit_test(nobody_who_is_asked_to_stop_goes_on_as_before),
        cmocka_unit_test(a_program_that_is_still_stopping_has_no_more_time_than_before),
        cmocka_unit_test(a_bundle_makes_way_for_the_next_where_its_rest_is_on_the_disk),
        cmocka_unit_test(after_the_collection_of_what_stops_nothing_lingers),
        cmocka_unit_test(a_collector_that_does_not_die_is_left_behind),
        cmocka_unit_test(what_cannot_happen_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
