/* The file that a module was mapped from, and what may be in its place now. */

#include <errno.h>
#include <fcntl.h>
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

#include "capture/module_file.h"
#include "util/cleanup.h"

#define AT_ADDRESS 0x1000

/* This program, as a process would have it mapped from a copy. */
struct mapped {
    char path[64];
    struct core_mapping mapping;
    struct core_module module;
    struct core_info info;
};

static int copy_program(const char *path)
{
    char command[128];

    snprintf(command, sizeof(command), "cp /proc/%d/exe %s", getpid(), path);
    return system(command);
}

static int map_copy(void **state)
{
    struct mapped *mapped = calloc(1, sizeof(*mapped));
    struct stat st;
    int fd;

    assert_non_null(mapped);
    strcpy(mapped->path, "/tmp/capture_module_file_test.XXXXXX");
    fd = mkstemp(mapped->path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(copy_program(mapped->path), 0);
    assert_int_equal(stat(mapped->path, &st), 0);
    mapped->mapping = (struct core_mapping){
        .start = AT_ADDRESS,
        .end = AT_ADDRESS + 1,
        .path = mapped->path,
        .device = st.st_dev,
        .inode = st.st_ino,
    };
    mapped->module = (struct core_module){.path = mapped->path, .start = AT_ADDRESS};
    mapped->info = (struct core_info){
        .mappings = &mapped->mapping,
        .n_mappings = 1,
        .modules = &mapped->module,
        .n_modules = 1,
    };
    *state = mapped;
    return 0;
}

static int remove_copy(void **state)
{
    struct mapped *mapped = *state;

    unlink(mapped->path);
    free(mapped);
    return 0;
}

static int open_it(const struct mapped *mapped)
{
    _cleanup_close_ int fd = module_open(&mapped->info, &mapped->module, 0);

    return fd < 0 ? fd : 0;
}

/* As an upgrade does it, while the old file is still mapped and so keeps its inode. */
static void replace(const struct mapped *mapped)
{
    _cleanup_close_ int held = open(mapped->path, O_RDONLY | O_CLOEXEC);
    char other[80];

    assert_true(held >= 0);
    snprintf(other, sizeof(other), "%s.new", mapped->path);
    assert_int_equal(copy_program(other), 0);
    assert_int_equal(rename(other, mapped->path), 0);
}

static void a_file_is_known_by_its_build_id(void **state)
{
    struct mapped *mapped = *state;
    _cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    assert_int_equal(build_id_of_file(fd, mapped->module.build_id, sizeof(mapped->module.build_id)),
                     0);
    assert_int_equal(open_it(mapped), 0);
    replace(mapped); /* by the same content */
    assert_int_equal(open_it(mapped), 0);
    strcpy(mapped->module.build_id, "00ff");
    assert_int_equal(open_it(mapped), -ESTALE);
}

static void without_a_build_id_it_is_known_by_its_inode(void **state)
{
    struct mapped *mapped = *state;
    assert_int_equal(open_it(mapped), 0);
    replace(mapped);
    assert_int_equal(open_it(mapped), -ESTALE);
}

/* An overlay tells one device of a file, and another one of its mapping. */
static void another_devices_inode_tells_nothing(void **state)
{
    struct mapped *mapped = *state;
    replace(mapped);
    mapped->mapping.device++;
    assert_int_equal(open_it(mapped), 0);
    mapped->mapping.device--;
    mapped->mapping.inode = 0;
    assert_int_equal(open_it(mapped), 0);
}

static void what_is_no_elf_file_is_not_opened(void **state)
{
    const struct mapped *mapped = *state;

    assert_int_equal(truncate(mapped->path, 70), 0);
    assert_int_equal(open_it(mapped), -ENODATA);
    assert_int_equal(truncate(mapped->path, 0), 0);
    assert_int_equal(open_it(mapped), -ENODATA);
    unlink(mapped->path);
    assert_int_equal(open_it(mapped), -ENOENT);
}

int main(void)
{
#define WITH_COPY(test) cmocka_unit_test_setup_teardown(test, map_copy, remove_copy)
    const struct CMUnitTest tests[] = {
        WITH_COPY(a_file_is_known_by_its_build_id),
        WITH_COPY(without_a_build_id_it_is_known_by_its_inode),
        WITH_COPY(another_devices_inode_tells_nothing),
        WITH_COPY(what_is_no_elf_file_is_not_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
