/* Paths below another root directory, the kernel's way and by parts. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture/path_in_root.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"
#include "util/io.h"

static const struct {
    const char *name;
    int (*find)(int root_fd, const char *path, int flags);
} ways[] = {{"openat2", path_in_root}, {"by parts", path_in_root_by_parts}};

#define EACH_WAY(i) (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)

struct root {
    char path[64];
    int fd;
};

static void put(const struct root *root, const char *name, const char *text)
{
    _cleanup_close_ int fd = openat(root->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

/* A root with a file of the name that the machine has too, and links of all kinds. */
static int make_root(void **state)
{
    struct root *root = calloc(1, sizeof(*root));

    assert_non_null(root);
    strcpy(root->path, "/tmp/path-in-root-XXXXXX");
    assert_non_null(mkdtemp(root->path));
    root->fd = open(root->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root->fd > 0);
    assert_int_equal(mkdirat(root->fd, "etc", 0700), 0);
    assert_int_equal(mkdirat(root->fd, "usr", 0700), 0);
    assert_int_equal(mkdirat(root->fd, "usr/lib", 0700), 0);
    put(root, "etc/passwd", "its own");
    put(root, "usr/lib/libz.so.1", "library");
    assert_int_equal(symlinkat("usr/lib", root->fd, "lib"), 0);
    assert_int_equal(symlinkat("/usr/lib", root->fd, "lib64"), 0);
    assert_int_equal(symlinkat("../../../../../usr/lib", root->fd, "usr/climbing"), 0);
    assert_int_equal(symlinkat("libz.so.1", root->fd, "usr/lib/libz.so"), 0);
    assert_int_equal(symlinkat("/etc/passwd", root->fd, "absolute"), 0);
    assert_int_equal(symlinkat("loop", root->fd, "loop"), 0);
    assert_int_equal(symlinkat("/proc/self/exe", root->fd, "outside"), 0);
    *state = root;
    return 0;
}

static int remove_root(void **state)
{
    struct root *root = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", root->path);
    close_fd(root->fd);
    free(root);
    return system(command);
}

static void expect_text(int found, const char *text)
{
    _cleanup_close_ int fd = -1;
    char path[48], got[64] = "";

    assert_true(found >= 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    close(found);
    assert_true(fd >= 0 && read_full(fd, got, sizeof(got) - 1) > 0);
    assert_string_equal(got, text);
}

static void nothing_leads_out_of_the_root(void **state)
{
    static const char *const own[] = {
        "/etc/passwd",   "/../etc/passwd", "/../../../../etc/passwd", "/usr/../../etc/./passwd",
        "//etc//passwd", "/absolute"};
    static const char *const libraries[] = {
        "/usr/lib/libz.so.1",    "/lib/libz.so.1",        "/lib64/libz.so",
        "/lib64/../lib/libz.so", "/usr/climbing/libz.so", "/usr/climbing/../lib/libz.so.1"};
    const struct root *root = *state;

    for
        EACH_WAY(i)
        {
            for (size_t k = 0; k < sizeof(own) / sizeof(own[0]); k++)
                expect_text(ways[i].find(root->fd, own[k], 0), "its own");
            for (size_t k = 0; k < sizeof(libraries) / sizeof(libraries[0]); k++)
                expect_text(ways[i].find(root->fd, libraries[k], 0), "library");
            assert_int_equal(ways[i].find(root->fd, "/outside", 0), -ENOENT);
            assert_int_equal(ways[i].find(root->fd, "/etc/hostname", 0), -ENOENT);
        }
}

static void what_is_no_path_is_an_error(void **state)
{
    const struct root *root = *state;
    char name[NAME_MAX + 3] = "/", path[PATH_MAX + 1] = "";

    memset(name + 1, 'x', sizeof(name) - 2);
    memset(path, '/', sizeof(path) - 1);
    for
        EACH_WAY(i)
        {
            assert_int_equal(ways[i].find(root->fd, "/loop", 0), -ELOOP);
            assert_int_equal(ways[i].find(root->fd, "/loop/x", 0), -ELOOP);
            assert_int_equal(ways[i].find(root->fd, "/etc/passwd/x", 0), -ENOTDIR);
            assert_int_equal(ways[i].find(root->fd, "/nothing/passwd", 0), -ENOENT);
            assert_int_equal(ways[i].find(root->fd, name, 0), -ENAMETOOLONG);
            assert_int_equal(ways[i].find(root->fd, path, 0), -ENAMETOOLONG);
        }
}

static void a_link_as_last_part_is_itself_where_it_is_not_to_be_followed(void **state)
{
    const struct root *root = *state;
    struct stat st;

    for
        EACH_WAY(i)
        {
            _cleanup_close_ int link_fd =
                ways[i].find(root->fd, "/lib64/libz.so", AT_SYMLINK_NOFOLLOW);
            assert_true(link_fd >= 0 && fstat(link_fd, &st) == 0 && S_ISLNK(st.st_mode));
        }
    assert_int_equal(open_regular_in_root(root->fd, "/absolute", AT_SYMLINK_NOFOLLOW), -ELOOP);
    assert_int_equal(open_regular_in_root(root->fd, "/usr", 0), -EINVAL);
    expect_text(open_regular_in_root(root->fd, "/absolute", 0), "its own");
}

static void without_a_root_the_paths_are_our_own(void **state)
{
    const struct root *root = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/usr/lib/libz.so", root->path);
    expect_text(open_regular_in_root(-1, path, 0), "library");
    expect_text(open_regular_in_root(0, path, 0), "library");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leads_out_of_the_root),
        cmocka_unit_test(what_is_no_path_is_an_error),
        cmocka_unit_test(a_link_as_last_part_is_itself_where_it_is_not_to_be_followed),
        cmocka_unit_test(without_a_root_the_paths_are_our_own),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
