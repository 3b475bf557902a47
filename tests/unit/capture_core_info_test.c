/* What a core tells: the kernel's own cores, and cores made by hand for what no kernel writes. */

#include "capture_testing.h"

#include <link.h>
#include <pthread.h>

#include "capture/core_info.h"

static struct core_info *read_or_fail(int fd)
{
    struct core_info *info = NULL;

    assert_true(fd >= 0);
    assert_int_equal(core_info_read(fd, &info), 0);
    return info;
}

static int read_error(int fd)
{
    struct core_info *info = NULL;
    int r;

    assert_true(fd >= 0);
    r = core_info_read(fd, &info);
    core_info_free(info);
    return r;
}

static int open_core(const char *directory)
{
    int fd = open(in_directory(directory, "core"), O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void own_path(char *ret)
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);

    assert_true(n > 0);
    ret[n] = '\0';
}

/* The build-id that the running program carries in its own memory. */
static int find_own_build_id(struct dl_phdr_info *object, size_t size, void *context)
{
    char *ret = context;

    (void)size;
    for (int i = 0; i < object->dlpi_phnum && object->dlpi_name[0] == '\0'; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        const char *at = (const char *)(object->dlpi_addr + segment->p_vaddr);
        const ElfW(Nhdr) *note = (const void *)at;

        if (segment->p_type != PT_NOTE || note->n_type != NT_GNU_BUILD_ID)
            continue;
        for (unsigned k = 0; k < note->n_descsz; k++)
            sprintf(ret + 2 * k, "%02x", (unsigned char)at[sizeof(*note) + 4 + k]);
        return 1;
    }
    return 0;
}

static void a_kernel_core_tells_process_signal_and_modules(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    char path[PATH_MAX], build_id[2 * BUILD_ID_MAX + 1] = "";
    struct crash_record record;
    _cleanup_close_ int fd = -1;
    bool has_libc = false;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    assert_int_equal(record.wait_code, CLD_DUMPED);
    fd = open_core(*state);
    info = read_or_fail(fd);

    assert_int_equal(info->pid, record.pid);
    assert_int_equal(info->ppid, getpid());
    assert_int_equal(info->crash_tid, record.pid);
    assert_int_equal(info->signo, SIGSEGV);
    assert_true(info->has_siginfo);
    assert_int_equal(info->si_code, SEGV_MAPERR);
    assert_int_equal(info->fault_address, 0);
    assert_int_equal(info->sender_pid, 0);
    assert_string_equal(info->comm, "capture_core_in");
    assert_non_null(strstr(info->args, "capture_core_info_test"));
    assert_int_equal(info->n_threads, 1);
    assert_false(info->truncated);
    assert_int_equal(info->file_size, info->expected_size);
    assert_true(info->vdso != 0);

    own_path(path);
    dl_iterate_phdr(find_own_build_id, build_id);
    assert_true(info->knows_executable);
    assert_string_equal(info->modules[0].path, path);
    assert_string_equal(info->modules[0].build_id, build_id);
    for (size_t i = 0; i < info->n_modules; i++) {
        has_libc = has_libc || strstr(info->modules[i].path, "/libc.so.6");
        assert_string_not_equal(info->modules[i].build_id, "");
    }
    assert_true(has_libc);
    assert_string_equal(core_info_find_mapping(info, (uint64_t)(uintptr_t)write_to_null)->path,
                        path);
    assert_true(core_info_find_mapping(info, (uint64_t)(uintptr_t)write_to_null)->executable);
    assert_null(core_info_find_mapping(info, 0));
}

static void an_abort_names_its_sender(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, abort_at_once, &record);
    fd = open_core(*state);
    info = read_or_fail(fd);
    assert_int_equal(info->signo, SIGABRT);
    assert_int_equal(info->si_code, SI_TKILL);
    assert_int_equal(info->sender_pid, record.pid);
    assert_int_equal(info->sender_uid, getuid());
    assert_int_equal(info->fault_address, 0);
}

static pthread_barrier_t barrier;

static void *wait_forever(void *argument)
{
    pthread_barrier_wait(&barrier);
    while (pause() < 0)
        ;
    return argument;
}

static void *crash_in_thread(void *argument)
{
    pthread_barrier_wait(&barrier);
    write_to_null();
    return argument;
}

#define MANY_THREADS 500

static void crash_among_many_threads(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_barrier_init(&barrier, NULL, MANY_THREADS + 1);
    for (int i = 0; i < MANY_THREADS; i++)
        if (pthread_create(&thread, &attributes,
                           i == MANY_THREADS / 2 ? crash_in_thread : wait_forever, NULL) != 0)
            _exit(96);
    wait_forever(NULL);
}

static void the_crashing_one_of_500_threads_comes_first(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, crash_among_many_threads, &record);
    fd = open_core(*state);
    info = read_or_fail(fd);
    assert_int_equal(info->n_threads, MANY_THREADS + 1);
    assert_int_equal(info->pid, record.pid);
    assert_int_not_equal(info->crash_tid, record.pid);
    assert_int_equal(info->threads[0].tid, info->crash_tid);
    for (size_t i = 1; i < info->n_threads; i++)
        assert_int_not_equal(info->threads[i].tid, info->crash_tid);
}

static void a_core_that_the_limit_cut_is_read_and_called_truncated(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    crash_in(*state, 64 * 1024, write_to_null, &record);
    fd = open_core(*state);
    info = read_or_fail(fd);
    assert_true(info->truncated);
    assert_true(info->file_size < info->expected_size);
    assert_int_equal(info->pid, record.pid);
    assert_int_equal(info->signo, SIGSEGV);
    assert_true(info->knows_executable);
}

static void a_core_cut_anywhere_is_read_or_refused_but_never_misread(void **state)
{
    _cleanup_core_info_ struct core_info *whole = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    fd = open_core(*state);
    whole = read_or_fail(fd);
    /* Backwards through everything that is structure, in odd steps. */
    for (off_t size = 40000; size >= 0; size -= 61) {
        struct core_info *info = NULL;
        int r;

        assert_int_equal(ftruncate(fd, size), 0);
        r = core_info_read(fd, &info);
        if (r == 0) {
            assert_true(info->truncated);
            assert_int_equal(info->expected_size, whole->expected_size);
            assert_int_equal(info->pid, whole->pid);
            assert_int_equal(info->n_mappings, whole->n_mappings);
            assert_string_equal(info->modules[0].path, whole->modules[0].path);
        } else {
            assert_true(r == -ENODATA || (r == -ENOEXEC && size < 64));
        }
        core_info_free(info);
    }
}

static void what_is_no_core_is_refused(void **state)
{
    _cleanup_close_ int empty = memfd_create("empty", MFD_CLOEXEC);
    _cleanup_close_ int text = memfd_create("text", MFD_CLOEXEC);
    _cleanup_close_ int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int no_notes = memfd_create("no notes", MFD_CLOEXEC);
    const Elf64_Ehdr header = made_header(0);

    (void)state;
    assert_int_equal(read_error(empty), -ENOEXEC);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write_text(text, "no core, just words "), 0);
    assert_int_equal(read_error(text), -ENOEXEC);
    assert_int_equal(read_error(program), -ENOEXEC);
    assert_int_equal(write_all(no_notes, &header, sizeof(header)), 0);
    assert_int_equal(read_error(no_notes), -ENOEXEC);
}

static void cores_of_other_machines_are_told_from_rubbish(void **state)
{
    static const struct {
        size_t offset;
        unsigned char byte;
    } changes[] = {
        {EI_CLASS, ELFCLASS32},
        {EI_DATA, ELFDATA2MSB},
        {offsetof(Elf64_Ehdr, e_machine), EM_S390},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        const struct elf_prpsinfo process = made_process(7);
        _cleanup_close_ int fd = make_core_of(&process, SIGSEGV);

        assert_int_equal(pwrite(fd, &changes[i].byte, 1, (off_t)changes[i].offset), 1);
        assert_int_equal(read_error(fd), -ENOTSUP);
    }
}

static void garbage_in_every_byte_of_the_structure_is_survived(void **state)
{
    struct crash_record record;
    _cleanup_close_ int fd = -1;
    unsigned seed = 1;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, write_to_null, &record);
    fd = open_core(*state);
    for (int round = 0; round < 2000; round++) {
        unsigned char bytes[8], saved[8];
        off_t at = round < 200 ? round : (off_t)(rand_r(&seed) % 8192);
        struct core_info *info = NULL;

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = round % 3 ? (unsigned char)rand_r(&seed) : 0xff;
        assert_int_equal(pread(fd, saved, sizeof(saved), at), sizeof(saved));
        assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes));
        (void)core_info_read(fd, &info);
        core_info_free(info);
        assert_int_equal(pwrite(fd, saved, sizeof(saved), at), sizeof(saved));
    }
}

/* NT_FILE as the kernel lays it out, with a count and a size that may lie. */
static int make_core_with_files(uint64_t count, const uint64_t *entries, size_t n_entries,
                                const char *paths, size_t paths_size)
{
    const uint64_t head[] = {count, 4096};
    const size_t size = sizeof(head) + n_entries * 24 + paths_size;
    _cleanup_free_ char *note = malloc(size);
    struct made_note made = {"CORE", NT_FILE, note, (uint32_t)size};

    assert_non_null(note);
    memcpy(note, head, sizeof(head));
    memcpy(note + sizeof(head), entries, n_entries * 24);
    memcpy(note + sizeof(head) + n_entries * 24, paths, paths_size);
    return make_core(&made, 1);
}

static void file_notes_that_lie_cost_the_mappings_and_nothing_else(void **state)
{
    static const uint64_t entries[] = {0x1000, 0x2000, 0, 0x5000, 0x6000, 3};
    static const char paths[] = "/one\0/two";
    static const uint64_t counts[] = {3, 1000, 1ull << 32, 1ull << 61, UINT64_MAX};
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int good = make_core_with_files(2, entries, 2, paths, sizeof(paths));
    _cleanup_close_ int unended = make_core_with_files(2, entries, 2, paths, sizeof(paths) - 1);

    (void)state;
    info = read_or_fail(good);
    assert_int_equal(info->n_mappings, 2);
    assert_string_equal(info->mappings[1].path, "/two");
    assert_int_equal(info->mappings[1].offset, 3 * 4096);
    core_info_free(info);

    info = read_or_fail(unended);
    assert_int_equal(info->n_mappings, 1);
    core_info_free(info);
    info = NULL;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        _cleanup_close_ int fd = make_core_with_files(counts[i], entries, 2, "", 0);

        info = read_or_fail(fd);
        assert_int_equal(info->n_mappings, 0);
        core_info_free(info);
        info = NULL;
    }
}

#define MANY_MAPPINGS 65530

static void as_many_mappings_as_the_kernel_allows_are_read(void **state)
{
    _cleanup_free_ uint64_t *entries = calloc(MANY_MAPPINGS, 24);
    _cleanup_free_ char *paths = malloc(MANY_MAPPINGS * 16);
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = -1;
    size_t used = 0;

    (void)state;
    assert_true(entries && paths);
    for (size_t i = 0; i < MANY_MAPPINGS; i++) {
        /* From high to low: the order in the note is not to be relied on. */
        entries[3 * i] = (MANY_MAPPINGS - i) << 13;
        entries[3 * i + 1] = entries[3 * i] + 4096;
        entries[3 * i + 2] = i;
        used += (size_t)sprintf(paths + used, "/no/%zu", i % 1000) + 1;
    }
    fd = make_core_with_files(MANY_MAPPINGS, entries, MANY_MAPPINGS, paths, used);
    info = read_or_fail(fd);
    assert_int_equal(info->n_mappings, MANY_MAPPINGS);
    assert_int_equal(info->mappings[0].start, 1 << 13);
    assert_string_equal(core_info_find_mapping(info, (5ull << 13) + 4095)->path, "/no/525");
    assert_null(core_info_find_mapping(info, (5ull << 13) + 4096));
    assert_int_equal(info->n_modules, 0);
}

static void more_segments_than_the_header_can_count_are_read(void **state)
{
    enum { SEGMENTS = 70000 };
    _cleanup_free_ Elf64_Phdr *segments = calloc(SEGMENTS, sizeof(*segments));
    const struct elf_prpsinfo process = {.pr_pid = 7};
    const struct made_note note = {"CORE", NT_PRPSINFO, &process, sizeof(process)};
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    _cleanup_core_info_ struct core_info *info = NULL;
    const Elf64_Ehdr header = made_header(PN_XNUM);

    (void)state;
    assert_true(segments && fd >= 0);
    segments[0].p_type = PT_NOTE;
    segments[0].p_offset = sizeof(header) + SEGMENTS * sizeof(*segments);
    segments[0].p_filesz = put_notes(fd, segments[0].p_offset, &note, 1);
    for (uint64_t i = 1; i < SEGMENTS; i++)
        segments[i] = (Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = i << 13, .p_memsz = 4096};
    assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
    assert_int_equal(pwrite(fd, segments, SEGMENTS * sizeof(*segments), sizeof(header)),
                     SEGMENTS * sizeof(*segments));
    /* Neither the section header that has the number, nor any other, is there. */
    info = read_or_fail(fd);
    assert_int_equal(info->pid, 7);
    assert_int_equal(info->memory.n_segments, SEGMENTS - 1);
}

static void notes_without_end_do_not_take_forever(void **state)
{
    const Elf64_Ehdr header = made_header(1);
    const Elf64_Phdr segment = {
        .p_type = PT_NOTE, .p_offset = 4096, .p_filesz = (1ull << 40) - 4096};
    _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
    struct timespec before, after;

    (void)state;
    assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
    assert_int_equal(pwrite(fd, &segment, sizeof(segment), sizeof(header)), sizeof(segment));
    assert_int_equal(ftruncate(fd, (off_t)(segment.p_offset + segment.p_filesz)), 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(read_error(fd), 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 30);
}

/* A copy of this program that is mapped, and then replaced by another file. */
static char replaced_path[PATH_MAX];

static void crash_with_a_replaced_file(void)
{
    int fd = open(replaced_path, O_RDONLY);

    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ||
        unlink(replaced_path) < 0 || link("/bin/true", replaced_path) < 0)
        _exit(95);
    write_to_null();
}

static void copy_file(const char *from, const char *to)
{
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    char buffer[64 * 1024];
    ssize_t n;

    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, buffer, sizeof(buffer))) > 0)
        assert_int_equal(write_all(out, buffer, (size_t)n), 0);
}

static void the_build_id_of_a_replaced_file_comes_from_memory(void **state)
{
    _cleanup_core_info_ struct core_info *info = NULL;
    char own[PATH_MAX], mapped_path[PATH_MAX + 16];
    const struct core_module *found = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    own_path(own);
    snprintf(replaced_path, sizeof(replaced_path), "%s", in_directory(*state, "mapped.so"));
    copy_file(own, replaced_path);
    crash_in(*state, RLIM_INFINITY, crash_with_a_replaced_file, &record);
    fd = open_core(*state);
    info = read_or_fail(fd);

    snprintf(mapped_path, sizeof(mapped_path), "%s (deleted)", replaced_path);
    for (size_t i = 0; i < info->n_modules; i++)
        if (strcmp(info->modules[i].path, mapped_path) == 0)
            found = &info->modules[i];
    assert_non_null(found);
    assert_string_equal(found->build_id, info->modules[0].build_id);
}

static void crash_with_headers_not_dumped(void)
{
    _cleanup_close_ int fd = open("/proc/self/coredump_filter", O_WRONLY);

    if (fd < 0 || write_text(fd, "0x3") < 0)
        _exit(94);
    write_to_null();
}

static void build_ids_come_from_disk_where_the_core_lacks_headers(void **state)
{
    char build_id[2 * BUILD_ID_MAX + 1] = "";
    _cleanup_core_info_ struct core_info *info = NULL;
    struct crash_record record;
    _cleanup_close_ int fd = -1;

    need_cores_in_files();
    crash_in(*state, RLIM_INFINITY, crash_with_headers_not_dumped, &record);
    fd = open_core(*state);
    info = read_or_fail(fd);
    dl_iterate_phdr(find_own_build_id, build_id);
    assert_string_equal(info->modules[0].build_id, build_id);
}

static void the_maps_of_a_process_tell_its_modules(void **state)
{
    _cleanup_close_ int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int copy = memfd_create("maps", MFD_CLOEXEC);
    char build_id[2 * BUILD_ID_MAX + 1] = "", path[PATH_MAX], buffer[4096];
    _cleanup_core_info_ struct core_info *info = NULL;
    const struct core_module *own = NULL;
    ssize_t n;

    (void)state;
    while ((n = read(maps, buffer, sizeof(buffer))) > 0)
        assert_int_equal(write_all(copy, buffer, (size_t)n), 0);
    assert_int_equal(core_info_from_maps(copy, -1, &info), 0);
    assert_int_equal(info->pid, 0);
    assert_false(info->knows_executable);
    own_path(path);
    dl_iterate_phdr(find_own_build_id, build_id);
    for (size_t i = 0; i < info->n_modules; i++)
        if (strcmp(info->modules[i].path, path) == 0)
            own = &info->modules[i];
    assert_non_null(own);
    assert_string_equal(own->build_id, build_id);
    assert_true(core_info_find_mapping(info, (uint64_t)(uintptr_t)write_to_null)->executable);
}

static void odd_lines_of_maps_are_understood_or_left_out(void **state)
{
    static const char text[] =
        "00400000-00401000 r-xp 00000000 08:01 12 /with space and\\012newline\n"
        "00500000-00501000 rw-p 00002000 08:01 13 /data (deleted)\n"
        "00600000-00601000 rw-p 00000000 00:00 0 \n"
        "00700000-00701000 rw-p 00000000 00:00 0 [heap]\n"
        "not a line at all\n"
        "00800000-\n"
        "\n"
        "7fff0000-7fff1000 r--p 00000000 00:0d 9 anon_inode:[perf_event]\n"
        "00900000-00901000 r--p 00000000 08:01 14 /last";
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = memfd_create("maps", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(write_text(fd, text), 0);
    assert_int_equal(core_info_from_maps(fd, -1, &info), 0);
    assert_int_equal(info->n_mappings, 3);
    assert_string_equal(info->mappings[0].path, "/with space and\nnewline");
    assert_true(info->mappings[0].executable);
    assert_string_equal(info->mappings[1].path, "/data (deleted)");
    assert_int_equal(info->mappings[1].offset, 0x2000);
    assert_string_equal(info->mappings[2].path, "/last");
    /* Nothing of it can be read; what was mapped to be executed counts. */
    assert_int_equal(info->n_modules, 1);
    assert_string_equal(info->modules[0].build_id, "");
}

static void a_file_mapped_as_data_too_is_one_module_where_its_code_is(void **state)
{
    char path[PATH_MAX];
    _cleanup_core_info_ struct core_info *info = NULL;
    _cleanup_close_ int fd = memfd_create("maps", MFD_CLOEXEC);

    (void)state;
    own_path(path);
    dprintf(fd,
            "10000000-10001000 r--p 00005000 08:01 1 %s\n"  /* a symbolizer's view of a part */
            "20000000-20009000 r--p 00000000 08:01 1 %s\n"  /* and of the whole */
            "30000000-30001000 r--p 00000000 08:01 1 %s\n"  /* the loader's */
            "30001000-30002000 r-xp 00001000 08:01 1 %s\n", /* with code */
            path, path, path, path);
    assert_int_equal(core_info_from_maps(fd, -1, &info), 0);
    assert_int_equal(info->n_mappings, 4);
    assert_int_equal(info->n_modules, 1);
    assert_int_equal(info->modules[0].start, 0x30000000);
    assert_int_equal(info->modules[0].bias, 0x30000000);
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_kernel_core_tells_process_signal_and_modules),
        CORE_TEST(an_abort_names_its_sender),
        CORE_TEST(the_crashing_one_of_500_threads_comes_first),
        CORE_TEST(a_core_that_the_limit_cut_is_read_and_called_truncated),
        CORE_TEST(a_core_cut_anywhere_is_read_or_refused_but_never_misread),
        cmocka_unit_test(what_is_no_core_is_refused),
        cmocka_unit_test(cores_of_other_machines_are_told_from_rubbish),
        CORE_TEST(garbage_in_every_byte_of_the_structure_is_survived),
        cmocka_unit_test(file_notes_that_lie_cost_the_mappings_and_nothing_else),
        cmocka_unit_test(as_many_mappings_as_the_kernel_allows_are_read),
        cmocka_unit_test(more_segments_than_the_header_can_count_are_read),
        cmocka_unit_test(notes_without_end_do_not_take_forever),
        CORE_TEST(the_build_id_of_a_replaced_file_comes_from_memory),
        CORE_TEST(build_ids_come_from_disk_where_the_core_lacks_headers),
        cmocka_unit_test(the_maps_of_a_process_tell_its_modules),
        cmocka_unit_test(odd_lines_of_maps_are_understood_or_left_out),
        cmocka_unit_test(a_file_mapped_as_data_too_is_one_module_where_its_code_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
