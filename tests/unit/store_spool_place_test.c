/* What a cores dir is like: real directories and mounts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/spool_place.h"

static char base[] = "/tmp/spool-place-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(base) ? chmod(base, 0755) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(base);
}

static unsigned count_entries(const char *path)
{
    DIR *directory = opendir(path);
    unsigned n = 0;

    assert_non_null(directory);
    while (readdir(directory))
        n++;
    closedir(directory);
    return n - 2;
}

static void a_directory_is_tried_and_left_as_it_was(void **state)
{
    struct spool_place place;

    (void)state;
    spool_place_look(base, &place);
    assert_int_equal(place.error, 0);
    assert_true(place.exists);
    assert_true(place.free_bytes > 0);
    assert_true(place.free_inodes > 0);
    assert_int_equal(count_entries(base), 0);
}

static void a_missing_one_is_made_for_a_moment(void **state)
{
    struct spool_place place;
    char path[64];

    (void)state;
    snprintf(path, sizeof(path), "%s/cores/", base);
    spool_place_look(path, &place);
    assert_int_equal(place.error, 0);
    assert_false(place.exists);
    assert_true(place.free_bytes > 0);
    assert_int_equal(count_entries(base), 0);
}

static void what_cannot_be_is_told_by_its_error(void **state)
{
    const struct {
        const char *path;
        int error;
    } cases[] = {
        {"/nonexistent/deep/cores", -ENOENT},
        {"/proc/cores", -ENOENT},
        {"/dev/null", -ENOTDIR},
    };
    struct spool_place place;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        spool_place_look(cases[i].path, &place);
        assert_int_equal(place.error, cases[i].error);
        assert_int_equal(place.exists, cases[i].error == -ENOTDIR);
    }
}

/* In a child's own mount namespace, or as another user. Its exit status is what @look says. */
static bool holds_in_a_child(bool (*look)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(look() ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static bool look_at_a_tmpfs(void)
{
    struct spool_place place;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", base, "tmpfs", 0, "size=64k,nr_inodes=8") < 0)
        return false;
    spool_place_look(base, &place);
    return place.error == 0 && place.is_own_mount && place.is_memory &&
           place.free_bytes <= 64 * 1024 && place.free_inodes < 8;
}

static bool look_at_a_bind_mount(void)
{
    struct spool_place place;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("/usr", base, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, base, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return false;
    spool_place_look(base, &place);
    return place.error == -EROFS && place.exists && place.is_own_mount && !place.is_memory;
}

static bool look_as_another_user(void)
{
    struct spool_place place;

    if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0)
        return false;
    spool_place_look(base, &place);
    return place.error == -EACCES && place.exists;
}

static void mounts_and_users_are_seen(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_true(holds_in_a_child(look_at_a_tmpfs));
    assert_true(holds_in_a_child(look_at_a_bind_mount));
    assert_true(holds_in_a_child(look_as_another_user));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_is_tried_and_left_as_it_was),
        cmocka_unit_test(a_missing_one_is_made_for_a_moment),
        cmocka_unit_test(what_cannot_be_is_told_by_its_error),
        cmocka_unit_test(mounts_and_users_are_seen),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
