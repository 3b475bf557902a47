/* Room for the next bundle. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#include "store/spool_state.h"
#include "util/cleanup.h"
#include "util/log.h"

/* By how much the limits are passed. */
struct excess {
    uint64_t use;   /* bytes of the bundles */
    uint64_t space; /* bytes that are not free */
    uint64_t files;
};

static uint64_t above(uint64_t what, uint64_t limit)
{
    return what > limit ? what - limit : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* The bytes that the file system lacks. One that doesn't tell (FUSE) lacks none. */
static uint64_t missing_space(const struct spool *spool, uint64_t wanted)
{
    struct statvfs room;

    if (fstatvfs(spool->dir_fd, &room) < 0 || room.f_blocks == 0)
        return 0;
    return above(wanted, (uint64_t)room.f_bavail * room.f_frsize);
}

static void measure(const struct spool *spool, const struct spool_list *list,
                    const struct spool_policy *policy, uint64_t needed, struct excess *ret)
{
    uint64_t bytes = needed, files = 0;

    for (size_t i = 0; i < list->n; i++) {
        bytes = plus(bytes, list->bundles[i].bytes);
        files += list->bundles[i].n_files;
    }
    ret->use = policy->max_use ? above(bytes, policy->max_use) : 0;
    ret->space = missing_space(spool, plus(policy->keep_free, needed));
    ret->files = policy->max_files ? above(files, policy->max_files) : 0;
}

static bool is_kept(const struct excess *excess)
{
    return excess->use == 0 && excess->space == 0 && excess->files == 0;
}

static void subtract(struct excess *excess, const struct spool_bundle *bundle)
{
    excess->use = above(excess->use, bundle->bytes);
    excess->space = above(excess->space, bundle->bytes);
    excess->files = above(excess->files, bundle->n_files);
}

/* The newest unsent one is what its operator is going to ask for. */
static bool is_removable(const struct spool_list *list, size_t i, bool is_sent)
{
    const struct spool_bundle *bundle = &list->bundles[i];

    return bundle->is_ours && !bundle->is_held &&
           (bundle->is_sent && bundle->is_verified) == is_sent && (is_sent || i + 1 < list->n);
}

/* Would it do to remove all of those that may be? */
static bool would_do(const struct spool_list *list, bool is_sent, struct excess excess)
{
    for (size_t i = 0; i < list->n; i++)
        if (is_removable(list, i, is_sent))
            subtract(&excess, &list->bundles[i]);
    return is_kept(&excess);
}

static void tell(const struct spool_bundle *bundle)
{
    if (bundle->is_sent && bundle->is_verified)
        log_info("bundle %s was sent, and is removed to make room", bundle->id);
    else
        log_warning("bundle %s was not %s, and is removed all the same: max_use, keep_free or "
                    "max_files leave no room for it",
                    bundle->id, bundle->is_sent ? "verified in the bucket" : "sent");
}

static void remove_oldest(struct spool *spool, struct spool_list *list, bool is_sent,
                          struct excess *excess)
{
    for (size_t i = 0; i < list->n && !is_kept(excess); i++) {
        struct spool_bundle *bundle = &list->bundles[i];
        int r;

        if (!is_removable(list, i, is_sent))
            continue;
        r = spool_remove(spool, bundle->id);
        if (r < 0 && r != -ENOENT) /* another coreinit may have removed it just now */
            continue;
        if (r == 0)
            tell(bundle);
        subtract(excess, bundle);
        bundle->is_ours = false; /* it is gone */
    }
}

/* A journal without a bundle, which was removed by hand: nobody else would ever remove it. */
static void remove_stray_journals(struct spool *spool, const struct spool_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->bundles[i].n_files + list->bundles[i].n_parts == 0 && !list->bundles[i].is_held)
            (void)spool_remove(spool, list->bundles[i].id);
}

/* Unsent ones go for the spool's own limits as far as that goes, but not for room that isn't made
 * by that: others may have filled the disk. */
static void remove_unsent(struct spool *spool, struct spool_list *list, uint64_t needed,
                          struct excess *excess)
{
    struct excess own = *excess;

    if (would_do(list, false, *excess)) {
        remove_oldest(spool, list, false, excess);
    } else if (needed == 0) {
        own.space = 0;
        remove_oldest(spool, list, false, &own);
        excess->use = own.use;
        excess->files = own.files;
    }
}

int spool_make_room(struct spool *spool, const struct spool_policy *policy, uint64_t needed)
{
    _cleanup_(spool_list_free) struct spool_list list = {0};
    const bool has_limit = policy->max_use || policy->keep_free || policy->max_files;
    struct excess excess;
    int r = spool_list(spool, &list);

    if (r < 0)
        return r;
    if (list.is_cut)
        log_warning("there is so much in the cores dir that not all of it was looked at: its "
                    "limits can't be kept; remove what doesn't belong there");
    remove_stray_journals(spool, &list);
    measure(spool, &list, policy, needed, &excess);
    if (has_limit || would_do(&list, true, excess))
        remove_oldest(spool, &list, true, &excess);
    if (has_limit)
        remove_unsent(spool, &list, needed, &excess);
    if (is_kept(&excess))
        return 0;
    if (has_limit)
        log_warning("the cores dir is %" PRIu64 " bytes beyond max_use, %" PRIu64
                    " beyond keep_free and %" PRIu64 " files beyond max_files: what is left is in "
                    "work, of another destination, or the newest",
                    excess.use, excess.space, excess.files);
    return -ENOSPC;
}
