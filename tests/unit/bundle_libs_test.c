/*
 * .libs.zip of real processes: this test's own mappings, and a victim (this program again) whose
 * core gdb writes and then opens with nothing but the unpacked archive as its sysroot.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle_memory_sink.h"

#include "bundle/libs.h"
#include "util/cleanup.h"
#include "util/io.h"

extern char **environ;

struct folder {
    char path[64];
};

/* Runs a command in the folder, its output going to a file there. Returns its exit status. */
static int run(const struct folder *folder, const char *output, const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    int status;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder->path);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    assert_int_equal(posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#define RUN(folder, output, ...) run(folder, output, (const char *const[]){__VA_ARGS__, NULL})

/* Each test has a folder of its own, which goes with it however it ends. */
static int make_folder(void **state)
{
    struct folder *folder = malloc(sizeof(*folder));

    assert_non_null(folder);
    strcpy(folder->path, "/tmp/bundle_libs_test.XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    _cleanup_free_ struct folder *folder = *state;
    const struct folder parent = {"/tmp"};

    return RUN(&parent, "/dev/null", "rm", "-rf", folder->path);
}

static char *in_folder(const struct folder *folder, const char *name)
{
    char *path;

    assert_true(asprintf(&path, "%s/%s", folder->path, name) > 0);
    return path;
}

static char *read_file(const struct folder *folder, const char *name, size_t *ret_size)
{
    _cleanup_free_ char *path = in_folder(folder, name);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *text;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    text = malloc((size_t)st.st_size + 1);
    assert_int_equal(read_full(fd, text, (size_t)st.st_size), st.st_size);
    text[st.st_size] = '\0';
    if (ret_size)
        *ret_size = (size_t)st.st_size;
    return text;
}

static void write_file(const struct folder *folder, const char *name, const void *data, size_t size)
{
    _cleanup_free_ char *path = in_folder(folder, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, data, size), 0);
}

/* Writes libs.zip into the folder and unpacks it there as sysroot/. */
static void unpack_libs(const struct folder *folder, const struct core_info *info, int core_fd,
                        const char *exe_path)
{
    _cleanup_link_names_ struct link_names names = {0};
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;

    if (core_fd >= 0)
        assert_int_equal(link_names_read(info, core_fd, &names), 0);
    assert_int_equal(libs_write(info, &names, exe_path, sink), 0);
    write_file(folder, "libs.zip", memory->data, memory->size);
    assert_int_equal(RUN(folder, "unzip.out", "unzip", "-q", "libs.zip", "-d", "sysroot"), 0);
}

static bool same_file(const struct folder *folder, const char *path)
{
    _cleanup_free_ char *unpacked = NULL;

    assert_true(asprintf(&unpacked, "sysroot/%s", path) > 0);
    return RUN(folder, "cmp.out", "cmp", unpacked, path) == 0;
}

static bool is_unpacked(const struct folder *folder, const char *path)
{
    _cleanup_free_ char *full = NULL;

    assert_true(asprintf(&full, "%s/sysroot/%s", folder->path, path) > 0);
    return access(full, F_OK) == 0;
}

static void every_mapped_library_is_stored_at_its_own_path(void **state)
{
    const struct folder *folder = *state;
    _cleanup_close_ int maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    _cleanup_core_info_ struct core_info *info = NULL;
    char exe[PATH_MAX] = "";
    size_t libraries = 0;

    assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
    assert_int_equal(core_info_from_maps(maps_fd, -1, &info), 0);
    unpack_libs(folder, info, -1, exe);
    for (size_t i = 0; i < info->n_modules; i++) {
        if (strcmp(info->modules[i].path, exe) == 0)
            continue;
        assert_true(same_file(folder, info->modules[i].path));
        libraries++;
    }
    assert_true(libraries >= 3);
    assert_false(is_unpacked(folder, exe));
}

static struct core_module module_of(const char *path, const char *build_id)
{
    struct core_module module = {.path = path};

    strcpy(module.build_id, build_id);
    return module;
}

static void what_is_not_the_mapped_file_any_more_is_left_out(void **state)
{
    const struct folder *folder = *state;
    _cleanup_free_ char *link = in_folder(folder, "link");
    _cleanup_free_ char *directory = in_folder(folder, "directory");
    _cleanup_free_ char *fifo = in_folder(folder, "fifo");
    _cleanup_free_ char *stored = in_folder(folder, "sysroot/same");
    _cleanup_free_ char *exe = realpath("/proc/self/exe", NULL);
    _cleanup_close_ int root_fd = open(folder->path, O_PATH | O_CLOEXEC);
    struct core_module modules[] = {
        module_of("/same", ""),
        module_of("/replaced", "00ff"),
        module_of("/no-elf", ""),
        module_of("/cut", ""),
        module_of("/gone (deleted)", ""),
        module_of("/link", ""),
        module_of("/directory", ""),
        module_of("/fifo", ""),
        module_of("no/path", ""),
        module_of("/directory/../replaced", ""), /* no path that a kernel tells */
        module_of("/executable", ""),
    };
    struct core_info info = {.modules = modules, .n_modules = 11};
    const struct folder nowhere = {""};
    struct stat st;
    size_t size;
    _cleanup_free_ char *program = read_file(&nowhere, exe + 1, &size);

    write_file(folder, "same", program, size);
    write_file(folder, "replaced", program, size);
    write_file(folder, "executable", program, size);
    write_file(folder, "no-elf", "#!/bin/sh\n", 10);
    write_file(folder, "cut", program, 70);
    assert_int_equal(symlink("same", link), 0);
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    info.root_fd = root_fd;
    unpack_libs(folder, &info, -1, "/executable");

    for (size_t i = 1; i < info.n_modules; i++)
        assert_false(is_unpacked(folder, modules[i].path));
    assert_int_equal(stat(stored, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
}

static void no_library_at_all_is_an_archive_all_the_same(void **unused)
{
    (void)unused;
    struct core_module modules[] = {module_of("/static", "")};
    struct core_info info = {.modules = modules, .n_modules = 1, .knows_executable = true};
    const struct link_names none = {0};
    struct memory_sink *memory = memory_sink(0);
    _cleanup_sink_ struct sink *sink = &memory->sink;

    assert_int_equal(libs_write(&info, &none, NULL, sink), 0);
    assert_int_equal(memory->size, 22);
}

static void a_full_disk_is_told(void **unused)
{
    (void)unused;
    _cleanup_close_ int maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    _cleanup_core_info_ struct core_info *info = NULL;
    const struct link_names none = {0};
    int r = -ENOSPC;

    assert_int_equal(core_info_from_maps(maps_fd, -1, &info), 0);
    for (unsigned fail_at = 1; r != 0; fail_at = 2 * fail_at + 1) {
        struct memory_sink *memory = memory_sink(fail_at);
        _cleanup_sink_ struct sink *sink = &memory->sink;

        r = libs_write(info, &none, NULL, sink);
        assert_int_equal(r, memory->writes < fail_at ? 0 : -ENOSPC);
    }
}

/* The victim's part: a library by a name that climbs, as an $ORIGIN/../lib gives; then it waits. */
static int be_a_victim(void)
{
    char name[PATH_MAX], folder[PATH_MAX], *slash;
    struct link_map *libc;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (!libc || strlen(libc->l_name) >= sizeof(folder))
        return 1;
    strcpy(folder, libc->l_name);
    slash = strrchr(folder, '/');
    *slash = '\0';
    snprintf(name, sizeof(name), "%.1000s/gconv/..//./libBrokenLocale.so.1", folder);
    if (!dlopen(name, RTLD_NOW) || write(STDOUT_FILENO, "", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static pid_t start_victim(const char *exe)
{
    const char *const argv[] = {exe, "victim", NULL};
    posix_spawn_file_actions_t actions;
    int ready[2];
    pid_t pid;
    char byte;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ready[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&pid, exe, &actions, NULL, (char **)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

/* Writes the core of a victim into the folder; were it huge against all reason, it is cut. */
static void dump_victim(const struct folder *folder, const char *exe)
{
    pid_t pid = start_victim(exe);
    char number[16];

    snprintf(number, sizeof(number), "%d", pid);
    RUN(folder, "gcore.out", "sh", "-c",
        "ulimit -f 200000; exec gdb -nx -batch -p $0 -ex 'gcore core'", number);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What gdb says of the core with the executable and the unpacked archive, as a stranger asks it. */
static char *ask_gdb(const struct folder *folder, const char *exe)
{
    _cleanup_free_ char *sysroot = NULL;

    assert_true(asprintf(&sysroot, "set sysroot %s/sysroot", folder->path) > 0);
    assert_int_equal(RUN(folder, "gdb.out", "gdb", "-nx", "-batch", "-ex", sysroot, "-ex", "bt",
                         "-ex", "info sharedlibrary", exe, "core"),
                     0);
    return read_file(folder, "gdb.out", NULL);
}

static void the_unpacked_archive_is_a_sysroot_for_gdb(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the victim is this program: gcore would write the sanitizer's terabytes */
#endif
    const struct folder *folder = *state;
    _cleanup_free_ char *exe = realpath("/proc/self/exe", NULL);
    _cleanup_free_ char *core = in_folder(folder, "core");
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int core_fd = -1;
    size_t frames = 0, libraries = 0;

    dump_victim(folder, exe);
    core_fd = open(core, O_RDONLY | O_CLOEXEC);
    assert_int_equal(core_info_read(core_fd, &info), 0);
    unpack_libs(folder, info, core_fd, NULL);

    _cleanup_free_ char *text = ask_gdb(folder, exe);
    assert_null(strstr(text, "Could not load shared library"));
    assert_non_null(strstr(text, "\n#0"));
    for (char *line = strtok(strstr(text, "\n#0"), "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] == '#') { /* a name or, for what was stripped, the library it is in */
            frames++;
            assert_true(!strstr(line, " ?? ()") || strstr(line, " from "));
        }
        if (strncmp(line, "0x", 2) == 0) {
            libraries++;
            assert_non_null(strstr(line, "Yes"));
            assert_non_null(strstr(line, folder->path));
        }
    }
    assert_true(frames >= 3);
    assert_in_range(libraries, 5, info->n_modules - 1);
}

/* A process's memory in which one executable has a chain of three names. Its addresses are offsets
 * from IMAGE_AT. */
#define IMAGE_AT 0x400000

struct image {
    ElfW(Ehdr) header;
    ElfW(Phdr) segments[2];
    ElfW(Dyn) dynamic[3];
    struct r_debug debug;
    struct link_map links[3];
    char names[3][32];
} __attribute__((aligned(4096))); /* whole pages, as in a core */

#define ADDRESS(member) (IMAGE_AT + offsetof(struct image, member))

static struct image make_image(void)
{
    struct image image = {
        .header = {.e_ident = ELFMAG, .e_phoff = offsetof(struct image, segments), .e_phnum = 2},
        .segments = {{.p_type = PT_LOAD}, {.p_type = PT_DYNAMIC}},
        .dynamic = {{.d_tag = DT_NEEDED}, {.d_tag = DT_DEBUG}},
        .names = {"", "/lib/libone.so", "/lib/libtwo.so"},
    };

    image.segments[1].p_vaddr = offsetof(struct image, dynamic);
    image.dynamic[1].d_un.d_ptr = ADDRESS(debug);
    image.debug.r_map = (struct link_map *)ADDRESS(links[0]);
    for (size_t i = 0; i < 3; i++) {
        image.links[i].l_name = (char *)(ADDRESS(names) + i * sizeof(image.names[0]));
        if (i < 2)
            image.links[i].l_next =
                (struct link_map *)(ADDRESS(links) + (i + 1) * sizeof(image.links[0]));
    }
    return image;
}

/* Walks an image of which the core has the first @size bytes. */
static int walk_image(const struct image *image, size_t size, struct link_names *ret)
{
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    struct core_segment segment = {IMAGE_AT, IMAGE_AT + sizeof(*image), 0, size, false};
    struct core_module module = {.path = "/exe", .start = IMAGE_AT, .bias = IMAGE_AT};
    struct core_info info = {
        .modules = &module, .n_modules = 1, .memory = {.segments = &segment, .n_segments = 1}};

    assert_int_equal(write_all(fd, image, size), 0);
    return link_names_read(&info, fd, ret);
}

static void assert_names(const struct link_names *names, const void *expected, size_t size)
{
    assert_int_equal(names->size, size);
    assert_memory_equal(names->text, expected, size);
}

static void the_loaders_names_are_read_from_memory(void **unused)
{
    (void)unused;
    static const char expected[] = "/lib/libone.so\0/lib/libtwo.so";
    _cleanup_link_names_ struct link_names names = {0};
    struct image image = make_image();

    assert_int_equal(walk_image(&image, sizeof(image), &names), 0);
    assert_names(&names, expected, sizeof(expected));
}

static void memory_that_was_not_dumped_ends_the_chain(void **unused)
{
    (void)unused;
    static const char one[] = "/lib/libone.so", two[] = "/lib/libtwo.so";
    _cleanup_link_names_ struct link_names none = {0}, last = {0}, first = {0};
    struct image image = make_image();

    assert_int_equal(walk_image(&image, offsetof(struct image, dynamic[1]), &none), -ENODATA);
    assert_int_equal(walk_image(&image, offsetof(struct image, debug), &none), -ENODATA);
    assert_int_equal(none.size, 0);

    /* What was read before the chain breaks is told all the same. */
    image.links[1].l_next = (struct link_map *)(uintptr_t)0x10;
    assert_int_equal(walk_image(&image, sizeof(image), &first), -ENODATA);
    assert_names(&first, one, sizeof(one));

    /* A name that isn't there is no reason to stop. */
    image = make_image();
    image.links[1].l_name = (char *)(uintptr_t)0x10;
    assert_int_equal(walk_image(&image, sizeof(image), &last), 0);
    assert_names(&last, two, sizeof(two));
}

static void a_chain_that_bites_its_tail_is_cut(void **unused)
{
    (void)unused;
    _cleanup_link_names_ struct link_names names = {0};
    struct image image = make_image();

    image.links[2].l_next = (struct link_map *)ADDRESS(links[1]);
    assert_int_equal(walk_image(&image, sizeof(image), &names), 0);
    assert_in_range(names.size, 3 * sizeof("/lib/libone.so"), 1 << 20);
}

/* Whatever the bytes are, the walk ends and stays within what is there. */
static void garbage_is_walked_safely(void **unused)
{
    (void)unused;
    uint64_t state = 1;

    for (unsigned i = 0; i < 3000; i++) {
        _cleanup_link_names_ struct link_names names = {0};
        struct image image = make_image();

        for (unsigned k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            ((uint8_t *)&image)[(state >> 33) % sizeof(image)] = (uint8_t)(state >> 25);
        }
        int r = walk_image(&image, sizeof(image), &names);
        assert_true(r == 0 || r == -ENODATA);
        assert_true(names.size == 0 || names.text[names.size - 1] == '\0');
    }
}

/* A merged /usr, a versioned name, and a library that $ORIGIN/../lib leads to. */
static void files_are_stored_under_the_loaders_names_too(void **state)
{
    const struct folder *folder = *state;
    static const char *const folders[] = {"usr", "usr/lib", "opt", "opt/bin", "opt/lib"};
    static const char *const links[][2] = {{"usr/lib", "lib"},
                                           {"/usr/lib/libz.so.1.2", "usr/lib/libz.so"}};
    struct image image = make_image();
    struct core_segment segment = {IMAGE_AT, IMAGE_AT + sizeof(image), 0, sizeof(image), false};
    struct core_module modules[] = {
        {.path = "/opt/bin/exe", .start = IMAGE_AT, .bias = IMAGE_AT},
        module_of("/usr/lib/libz.so.1.2", ""),
        module_of("/opt/lib/libown.so", ""),
        module_of("/opt/lib/libother.so", "00ff"),
    };
    struct core_info info = {
        .modules = modules,
        .n_modules = 4,
        .knows_executable = true,
        .memory = {.segments = &segment, .n_segments = 1},
    };
    _cleanup_close_ int core_fd = memfd_create("core", MFD_CLOEXEC);
    _cleanup_free_ char *exe = realpath("/proc/self/exe", NULL);
    _cleanup_close_ int root_fd = open(folder->path, O_PATH | O_CLOEXEC);
    const struct folder nowhere = {""};
    size_t size;
    _cleanup_free_ char *program = read_file(&nowhere, exe + 1, &size);

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        _cleanup_free_ char *path = in_folder(folder, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        _cleanup_free_ char *path = in_folder(folder, links[i][1]);
        assert_int_equal(symlink(links[i][0], path), 0);
    }
    write_file(folder, "usr/lib/libz.so.1.2", program, size);
    write_file(folder, "opt/lib/libown.so", program, size);
    write_file(folder, "opt/lib/libother.so", program, size);
    strcpy(image.names[0], "/lib/libz.so");
    strcpy(image.names[1], "/opt/bin/../lib/libown.so");
    strcpy(image.names[2], "/opt//lib/./libother.so");
    assert_int_equal(write_all(core_fd, &image, sizeof(image)), 0);
    info.root_fd = root_fd;
    unpack_libs(folder, &info, core_fd, NULL);

    assert_true(is_unpacked(folder, "usr/lib/libz.so.1.2"));
    assert_true(is_unpacked(folder, "lib/libz.so"));
    assert_true(is_unpacked(folder, "opt/bin/../lib/libown.so"));
    assert_false(is_unpacked(folder, "opt/bin/exe"));
    assert_false(is_unpacked(folder, "opt/lib/libother.so")); /* another build-id under any name */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_mapped_library_is_stored_at_its_own_path, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_is_not_the_mapped_file_any_more_is_left_out,
                                        make_folder, remove_folder),
        cmocka_unit_test(no_library_at_all_is_an_archive_all_the_same),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test_setup_teardown(the_unpacked_archive_is_a_sysroot_for_gdb, make_folder,
                                        remove_folder),
        cmocka_unit_test(the_loaders_names_are_read_from_memory),
        cmocka_unit_test(memory_that_was_not_dumped_ends_the_chain),
        cmocka_unit_test(a_chain_that_bites_its_tail_is_cut),
        cmocka_unit_test(garbage_is_walked_safely),
        cmocka_unit_test_setup_teardown(files_are_stored_under_the_loaders_names_too, make_folder,
                                        remove_folder),
    };

    if (argc == 2 && strcmp(argv[1], "victim") == 0)
        return be_a_victim();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
