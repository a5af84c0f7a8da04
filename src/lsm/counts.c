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

static int counts_rebuild(struct counts *counts, int keep_empty)
{
    struct counts next = {0};
    size_t kept = 0;

    for (size_t i = 0; i < counts->cap; i++)
        kept += counts->slots[i].name_len != 0 && (keep_empty || counts->slots[i].live != 0);
    next.cap = 16;
    while (next.cap < 4 * (kept + 1))
        next.cap *= 2;
    next.slots = mem_alloc_zero(next.cap * sizeof(*next.slots));
    if (next.slots == NULL)
        return -1;
    for (size_t i = 0; i < counts->cap; i++) {
        const struct count_group *group = &counts->slots[i];
        if (group->name_len == 0 || (!keep_empty && group->live == 0))
            continue;
        next.slots[counts_slot(&next, varve_slice(group->name, group->name_len))] = *group;
        next.used++;
    }
    mem_free(counts->slots);
    next.compact_at = counts->compact_at;
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

int64_t counts_get(const struct counts *counts, struct varve_slice name)
{
    if (counts->cap == 0)
        return 0;
    const struct count_group *group = &counts->slots[counts_slot(counts, name)];
    return group->name_len == 0 ? 0 : group->live;
}
