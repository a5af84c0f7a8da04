#include "lsm/counts.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"

#define COMPACT_MIN 1024

/* Names are made by the program that embeds us, not by its clients: a CRC is hash enough. */
static size_t counts_slot(const struct counts *counts, struct varve_slice name)
{
    size_t at = crc32c(0, name.data, name.len) & (counts->cap - 1);

    while (counts->slots[at].name_len != 0 &&
           (counts->slots[at].name_len != name.len ||
            memcmp(counts->slots[at].name, name.data, name.len) != 0))
        at = (at + 1) & (counts->cap - 1);
    return at;
}

void counts_deinit(struct counts *counts)
{
    mem_free(counts->slots);
    *counts = (struct counts){0};
}

/* Of no use to anybody any more. */
static int group_is_spent(const struct count_group *group)
{
    return group->fresh && group->reset && !group->cut && group->live == 0;
}

static int counts_rebuild(struct counts *counts, int keep_spent)
{
    struct counts next = {.cap = 16, .compact_at = counts->compact_at};

    for (size_t i = 0; i < counts->cap; i++)
        next.used += counts->slots[i].name_len != 0 &&
                     (keep_spent || !group_is_spent(&counts->slots[i]));
    while (next.cap < 4 * (next.used + 1))
        next.cap *= 2;
    next.slots = mem_alloc_zero(next.cap * sizeof(*next.slots));
    if (next.slots == NULL)
        return -1;
    for (size_t i = 0; i < counts->cap; i++) {
        const struct count_group *group = &counts->slots[i];
        if (group->name_len != 0 && (keep_spent || !group_is_spent(group)))
            next.slots[counts_slot(&next, varve_slice(group->name, group->name_len))] = *group;
    }
    mem_free(counts->slots);
    *counts = next;
    return 0;
}

void counts_compact(struct counts *counts)
{
    if (counts->used < COMPACT_MIN || counts->used < counts->compact_at)
        return;
    if (counts_rebuild(counts, 0) == 0)
        counts->compact_at = 2 * counts->used;
}

struct count_group *counts_at(struct counts *counts, struct varve_slice name)
{
    CHECK(name.len > 0 && name.len <= VARVE_GROUP_MAX_BYTES);
    if (counts->cap > 0) {
        struct count_group *found = &counts->slots[counts_slot(counts, name)];
        if (found->name_len != 0)
            return found;
    }
    if (2 * (counts->used + 1) > counts->cap && counts_rebuild(counts, 1) != 0)
        return NULL;
    struct count_group *made = &counts->slots[counts_slot(counts, name)];
    memcpy(made->name, name.data, name.len);
    made->name_len = (uint8_t)name.len;
    counts->used++;
    return made;
}

const struct count_group *counts_find(const struct counts *counts, struct varve_slice name)
{
    if (counts->cap == 0)
        return NULL;
    const struct count_group *group = &counts->slots[counts_slot(counts, name)];
    return group->name_len == 0 ? NULL : group;
}
