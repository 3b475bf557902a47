#include "capture/stack_modules.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "capture/module_file.h"
#include "capture/regular_file.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/log.h"

/* What is copied of the memory for all modules at most; it is held in ours. */
#define MOST_IMAGE_BYTES (64u << 20)

/* The vdso has a few pages; its segment is the vdso alone. */
#define MOST_VDSO_BYTES (64u << 10)

/* @path is this process's own name of it. */
static int open_executable(const char *path, const struct core_info *info)
{
    _cleanup_close_ int fd = open_regular_at(AT_FDCWD, path, 0);
    int r = fd < 0 ? fd : module_check(info, &info->modules[0], fd);

    return r < 0 ? r : take_fd(&fd);
}

/* Copies a part of a process's memory to a place in a file. Returns 0 or -errno. */
static int copy_memory(const struct core_info *info, int memory_fd, uint64_t address, uint64_t size,
                       int to_fd, uint64_t to)
{
    char buffer[64 * 1024];

    for (uint64_t done = 0, part; done < size; done += part) {
        int r;

        part = size - done < sizeof(buffer) ? size - done : sizeof(buffer);
        r = core_memory_read(&info->memory, memory_fd, address + done, buffer, (size_t)part);
        if (r < 0)
            return r;
        if (pwrite(to_fd, buffer, (size_t)part, (off_t)(to + done)) != (ssize_t)part)
            return -EIO;
    }
    return 0;
}

/* Section headers are not mapped, as a rule; libdw then has to do without, rather than to fail. */
static int drop_missing_sections(int fd, uint64_t size)
{
    Elf64_Ehdr header;

    if (pread_full(fd, &header, sizeof(header), 0) != sizeof(header))
        return -ENODATA;
    if (header.e_shoff <= size &&
        (uint64_t)header.e_shnum * header.e_shentsize <= size - header.e_shoff)
        return 0;
    header.e_shoff = 0;
    header.e_shnum = 0;
    header.e_shstrndx = SHN_UNDEF;
    return pwrite(fd, &header, sizeof(header), 0) == sizeof(header) ? 0 : -EIO;
}

/*
 * Makes a module's file again from the memory, if all that was mapped is there.
 *
 * @room  bytes that it may take, less what it took afterwards
 */
static int rebuild_file(const struct core_info *info, int memory_fd,
                        const struct core_module *module, uint64_t *room)
{
    _cleanup_close_ int fd = memfd_create("module", MFD_CLOEXEC);
    uint64_t size = 0;
    int r;

    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < info->n_mappings; i++) {
        const struct core_mapping *mapping = &info->mappings[i];
        uint64_t length = mapping->end - mapping->start;

        if (strcmp(mapping->path, module->path) != 0)
            continue;
        if (length > *room || mapping->offset > *room - length)
            return -EFBIG;
        r = copy_memory(info, memory_fd, mapping->start, length, fd, mapping->offset);
        if (r < 0)
            return r;
        if (mapping->offset + length > size)
            size = mapping->offset + length;
    }
    r = drop_missing_sections(fd, size);
    if (r < 0)
        return r;
    *room -= size;
    return take_fd(&fd);
}

static int copy_vdso(const struct core_info *info, int memory_fd)
{
    const struct core_segment *segment = core_memory_find(&info->memory, info->vdso);
    _cleanup_close_ int fd = memfd_create("vdso", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    if (!segment || segment->end - info->vdso > MOST_VDSO_BYTES)
        return -ENODATA;
    r = copy_memory(info, memory_fd, info->vdso, segment->end - info->vdso, fd, 0);
    return r < 0 ? r : take_fd(&fd);
}

/* Takes @fd over. */
static void report(Dwfl *dwfl, const char *path, uint64_t bias, int fd)
{
    const char *slash = strrchr(path, '/');

    if (dwfl_report_elf(dwfl, slash ? slash + 1 : path, path, fd, bias, true))
        return;
    log_info("libdw makes nothing of %s: %s", path, dwfl_errmsg(-1));
    close_fd(fd);
}

int stack_report_modules(Dwfl *dwfl, int memory_fd, const char *exe_path,
                         const struct core_info *info)
{
    uint64_t room = MOST_IMAGE_BYTES;

    dwfl_report_begin(dwfl);
    for (size_t i = 0; i < info->n_modules; i++) {
        const struct core_module *module = &info->modules[i];
        int fd = -ENOENT;

        if (i == 0 && info->knows_executable && exe_path)
            fd = open_executable(exe_path, info);
        if (fd < 0)
            fd = module_open(info, module, 0);
        if (fd == -ESTALE)
            log_info("%s is not used for the stack trace: it was replaced since it was mapped",
                     module->path);
        if (fd < 0)
            fd = rebuild_file(info, memory_fd, module, &room);
        if (fd >= 0)
            report(dwfl, module->path, module->bias, fd);
    }
    if (info->vdso) {
        int fd = copy_vdso(info, memory_fd);

        if (fd >= 0)
            report(dwfl, "[vdso]", info->vdso, fd);
    }
    if (dwfl_report_end(dwfl, NULL, NULL) != 0) {
        log_error("libdw cannot use the modules: %s", dwfl_errmsg(-1));
        return -ENOEXEC;
    }
    return 0;
}
