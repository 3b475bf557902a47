#include "capture/build_id.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "capture/elf_notes.h"
#include "util/hex.h"

#define NATIVE_DATA (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB)

/* Linkers make about a dozen; what lies behind these isn't looked at. */
#define MOST_HEADERS 128

/* The build-id is among the first few notes. */
#define MOST_NOTES_OF_IMAGE 64

static int read_headers(const struct elf_bytes *bytes, uint64_t base, Elf64_Phdr *ret,
                        size_t *ret_count)
{
    Elf64_Ehdr header;
    int r;

    r = elf_bytes_read(bytes, base, &header, sizeof(header));
    if (r < 0)
        return r;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != NATIVE_DATA || header.e_phentsize != sizeof(Elf64_Phdr))
        return -ENOEXEC;
    if (header.e_phoff > INT64_MAX)
        return -ENODATA;
    *ret_count = header.e_phnum < MOST_HEADERS ? header.e_phnum : MOST_HEADERS;
    return elf_bytes_read(bytes, base + header.e_phoff, ret, *ret_count * sizeof(Elf64_Phdr));
}

/*
 * Looks for NT_GNU_BUILD_ID in one PT_NOTE. Returns 0, also where it isn't there, or -errno.
 *
 * @patience  notes to look at, less those that were
 */
static int read_build_id(const struct elf_bytes *bytes, uint64_t at, const Elf64_Phdr *segment,
                         uint32_t *patience, char *ret)
{
    struct elf_notes notes = elf_notes_begin(bytes, at, segment->p_filesz, segment->p_align);
    uint8_t id[BUILD_ID_MAX];
    struct elf_note note;
    int r = 0;

    for (; *patience > 0 && (r = elf_notes_next(&notes, &note)) > 0; --*patience) {
        size_t size = note.desc_size < sizeof(id) ? note.desc_size : sizeof(id);

        if (note.type != NT_GNU_BUILD_ID || strcmp(note.name, ELF_NOTE_GNU) != 0)
            continue;
        r = elf_bytes_read(bytes, note.desc, id, size);
        if (r == 0)
            hex_encode(id, size, ret);
        return r;
    }
    return r;
}

/* @base is 0 for a file, else the address of the image. */
static int read_image(const struct elf_bytes *bytes, uint64_t base, struct elf_image *ret)
{
    Elf64_Phdr headers[MOST_HEADERS];
    uint32_t patience = MOST_NOTES_OF_IMAGE;
    bool loaded = false;
    size_t count;
    int r;

    memset(ret, 0, sizeof(*ret));
    r = read_headers(bytes, base, headers, &count);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (headers[i].p_type != PT_LOAD || loaded)
            continue;
        ret->first_address = headers[i].p_vaddr & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
        loaded = true;
    }
    for (size_t i = 0; r == 0 && i < count && !ret->build_id[0]; i++) {
        if (headers[i].p_type == PT_NOTE)
            r = read_build_id(bytes,
                              bytes->memory ? base + headers[i].p_vaddr - ret->first_address
                                            : headers[i].p_offset,
                              &headers[i], &patience, ret->build_id);
    }
    return r;
}

int elf_image_of_file(int fd, struct elf_image *ret)
{
    const struct elf_bytes bytes = {.fd = fd};

    return read_image(&bytes, 0, ret);
}

int elf_image_of_core(const struct core_memory *memory, int core_fd, uint64_t address,
                      struct elf_image *ret)
{
    const struct elf_bytes bytes = {.fd = core_fd, .memory = memory};

    return read_image(&bytes, address, ret);
}

int build_id_of_file(int fd, char *ret, size_t size)
{
    struct elf_image image;
    int r = elf_image_of_file(fd, &image);

    if (r < 0)
        return r;
    if (strlen(image.build_id) >= size)
        return -ENOBUFS;
    strcpy(ret, image.build_id);
    return 0;
}
