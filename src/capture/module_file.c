#include "capture/module_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/regular_file.h"
#include "util/cleanup.h"

/* A file that was replaced has a new inode, whether it has a build-id or not. */
static bool is_other_inode(const struct core_mapping *mapping, int fd)
{
    struct stat st;

    return mapping && mapping->inode != 0 && fstat(fd, &st) == 0 && st.st_dev == mapping->device &&
           st.st_ino != mapping->inode;
}

int module_check(const struct core_info *info, const struct core_module *module, int fd)
{
    char build_id[sizeof(module->build_id)];
    int r = build_id_of_file(fd, build_id, sizeof(build_id));

    if (r < 0)
        return r;
    if (module->build_id[0])
        return strcmp(build_id, module->build_id) == 0 ? 0 : -ESTALE;
    return is_other_inode(core_info_find_mapping(info, module->start), fd) ? -ESTALE : 0;
}

int module_open(const struct core_info *info, const struct core_module *module, int flags)
{
    _cleanup_close_ int fd = open_regular_in_root(info->root_fd, module->path, flags);
    int r = fd < 0 ? fd : module_check(info, module, fd);

    return r < 0 ? r : take_fd(&fd);
}
