/* Whether a process is dumpable, seen from outside: real processes that are and that aren't. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/dumpable.h"
#include "util/io.h"
#include "util/proc_text.h"

static int (*const nothing)(void) = NULL;

static int become_undumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 0);
}

static int become_another(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(1000, 1000, 1000) < 0 ||
        setresuid(1000, 1000, 1000) < 0)
        return -1;
    return prctl(PR_SET_DUMPABLE, 1);
}

static int become_another_undumpable(void)
{
    return become_another() < 0 ? -1 : become_undumpable();
}

/* Keeps no capability: as who is seen must have none that the observer lacks. */
static int drop_ptrace(void)
{
    return prctl(PR_CAPBSET_DROP, 19 /* CAP_SYS_PTRACE */);
}

static int ask(pid_t pid)
{
    char path[32], status[8192];

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    assert_true(read_text_at(AT_FDCWD, path, status, sizeof(status)) > 0);
    return process_dumpable(pid, status);
}

/* What is seen of a child that did something first. */
static int seen_after(int (*act)(void))
{
    int ready[2], status, r;
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        byte = act == nothing || act() == 0;
        (void)!write(ready[1], &byte, 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    r = ask(pid);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(ready[0]);
    close(ready[1]);
    return r;
}

static void another_users_process_shows_it_by_who_owns_its_files(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(seen_after(become_another), 1);
    assert_int_equal(seen_after(become_another_undumpable), 0);
}

/* Below a user who has nothing that root's processes have to themselves. */
static void in_a_child(int (*before)(void), int expected_plain, int expected_undumpable)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        const bool is_ready = before() == 0;
        const bool is_right = is_ready && seen_after(nothing) == expected_plain &&
                              seen_after(become_undumpable) == expected_undumpable;

        _exit(is_right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void ones_own_users_process_shows_it(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    in_a_child(become_another, 1, 0);
}

/* As a container's root: CAP_SYS_PTRACE isn't among its capabilities. */
static int be_a_containers_root(void)
{
    char *const arguments[] = {(char *)"/proc/self/exe", (char *)"as-root", NULL};

    if (drop_ptrace() < 0)
        return -1;
    execv(arguments[0], arguments); /* what is bounded is lost by execve(2) */
    return -1;
}

static void roots_process_shows_it_to_a_root_without_ptrace(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    in_a_child(be_a_containers_root, 1, 0); /* in_a_child()'s own word is main()'s */
}

static void a_root_that_may_do_everything_cannot_tell(void **state)
{
    char status[8192];
    const char *capabilities;

    (void)state;
    assert_true(read_text_at(AT_FDCWD, "/proc/self/status", status, sizeof(status)) > 0);
    capabilities = proc_line(status, "CapEff:");
    if (geteuid() != 0 || !capabilities || !(strtoull(capabilities, NULL, 16) >> 19 & 1))
        skip();
    assert_int_equal(seen_after(nothing), -ENODATA);
    assert_int_equal(seen_after(become_undumpable), -ENODATA);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_users_process_shows_it_by_who_owns_its_files),
        cmocka_unit_test(ones_own_users_process_shows_it),
        cmocka_unit_test(roots_process_shows_it_to_a_root_without_ptrace),
        cmocka_unit_test(a_root_that_may_do_everything_cannot_tell),
    };

    if (argc == 2 && strcmp(argv[1], "as-root") == 0)
        return seen_after(nothing) != 1 || seen_after(become_undumpable) != 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
