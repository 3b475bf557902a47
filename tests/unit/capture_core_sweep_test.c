#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/core_sweep.h"

/* A folder with "old" and "new" in it, and a link "elsewhere" to "new". */
static int make_folders(void **state)
{
    static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char *folder = strdup("/tmp/core_sweep_test.XXXXXX");

    if (!folder || !mkdtemp(folder) || chdir(folder) < 0 || mkdir("old", 0700) < 0 ||
        mkdir("new", 0700) < 0 || symlink("new", "elsewhere") < 0 ||
        utimensat(AT_FDCWD, "old", old, 0) < 0)
        return -1;
    *state = folder;
    return 0;
}

static int remove_folders(void **state)
{
    int r = rmdir("old") | rmdir("new") | unlink("elsewhere") | chdir("/") | rmdir(*state);

    free(*state);
    return r;
}

struct seen {
    const char *folder;
    bool is_old, is_new, is_link, is_proc;
};

static bool look(const char *directory, void *context)
{
    struct seen *seen = context;
    size_t length = strlen(seen->folder);

    seen->is_proc |= strncmp(directory, "/proc/", 6) == 0;
    if (strncmp(directory, seen->folder, length) != 0)
        return false;
    seen->is_old |= strcmp(directory + length, "/old") == 0;
    seen->is_new |= strcmp(directory + length, "/new") == 0;
    seen->is_link |= strcmp(directory + length, "/elsewhere") == 0;
    return false;
}

static void what_changed_since_is_told_and_nothing_else(void **state)
{
    struct seen seen = {.folder = *state};
    struct timespec since;

    clock_gettime(CLOCK_REALTIME, &since);
    since.tv_sec -= 60;
    assert_int_equal(core_sweep(&since, 120, look, &seen), 0);
    assert_true(seen.is_new);
    assert_false(seen.is_old);
    assert_false(seen.is_link);
    assert_false(seen.is_proc);
}

static bool stop(const char *directory, void *context)
{
    (void)directory;
    return ++*(int *)context == 3;
}

static void it_ends_when_something_is_found(void **state)
{
    const struct timespec since = {0};
    int calls = 0;

    (void)state;
    assert_int_equal(core_sweep(&since, 120, stop, &calls), 0);
    assert_int_equal(calls, 3);
}

static void it_gives_up_when_its_time_is_over(void **state)
{
    const struct timespec since = {0};
    int calls = 0;

    (void)state;
    assert_int_equal(core_sweep(&since, 0, stop, &calls), -ETIME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_changed_since_is_told_and_nothing_else, make_folders,
                                        remove_folders),
        cmocka_unit_test(it_ends_when_something_is_found),
        cmocka_unit_test(it_gives_up_when_its_time_is_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
