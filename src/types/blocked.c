#include "types/blocked.h"

#include "base/crc32c.h"

#define KEYS_KEEP_BYTES ((size_t)64 * 1024)

void blocked_init(struct blocked *blocked)
{
    *blocked = (struct blocked){0};
    buf_init(&blocked->keys, SIZE_MAX / 2);
}

void blocked_deinit(struct blocked *blocked)
{
    buf_deinit(&blocked->keys);
}

int blocked_note(struct blocked *blocked, struct varve_slice key, uint64_t counted_space, int about)
{
    size_t at = blocked->keys.len;

    if (blocked->count == KEYSPACE_BLOCKED_MAX)
        return VARVE_WOULD_BLOCK;
    if (buf_append(&blocked->keys, key.data, key.len) != 0)
        return blocked->count > 0 ? VARVE_WOULD_BLOCK : VARVE_ENOMEM;
    blocked->notes[blocked->count++] = (struct blocked_note){
        .at = at, .len = key.len, .counted_space = counted_space, .about = about};
    return VARVE_WOULD_BLOCK;
}

void blocked_forget(struct blocked *blocked)
{
    blocked->count = 0;
    buf_clear(&blocked->keys);
    buf_shrink(&blocked->keys, KEYS_KEEP_BYTES);
}

void blocked_know_count(struct blocked *blocked, uint64_t space, int about, uint64_t count)
{
    if (blocked->known_count < COUNT_OF(blocked->known))
        blocked->known[blocked->known_count++] = (struct known_count){
            .space = space, .count = count, .about = about};
}

int blocked_known_count(const struct blocked *blocked, uint64_t space, int about, uint64_t *count)
{
    for (unsigned i = 0; i < blocked->known_count; i++) {
        if (blocked->known[i].space != space || (blocked->known[i].about && !about))
            continue;
        *count = blocked->known[i].count;
        return 1;
    }
    return 0;
}

uint32_t blocked_hash(struct varve_slice key)
{
    return crc32c(0, key.data, key.len);
}

void blocked_know_fetched(struct blocked *blocked, uint32_t hash, struct varve_fetch *fetch)
{
    const struct varve_fetch **bucket = &blocked->fetched[hash % FETCHED_BUCKETS];

    fetch->next = *bucket;
    *bucket = fetch;
    blocked->fetched_count++;
}

const struct varve_fetch *blocked_fetched(const struct blocked *blocked, struct varve_slice key)
{
    if (LIKELY(blocked->fetched_count == 0))
        return NULL;
    return blocked->fetched[blocked_hash(key) % FETCHED_BUCKETS];
}

void blocked_forget_known(struct blocked *blocked)
{
    if (blocked->fetched_count > 0)
        memset(blocked->fetched, 0, sizeof(blocked->fetched));
    blocked->fetched_count = 0;
    blocked->known_count = 0;
}
