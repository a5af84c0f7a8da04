#include "segment/block_walk.h"

#include "base/err.h"
#include "base/mutant.h"
#include "varve/batch.h"

#define KEY_KEEP_BYTES ((size_t)1024 * 1024)

void block_walk_init(struct block_walk *walk)
{
    *walk = (struct block_walk){0};
    buf_init(&walk->key, VARVE_KEY_MAX_BYTES);
}

void block_walk_deinit(struct block_walk *walk)
{
    buf_deinit(&walk->key);
}

static int walk_corrupt(struct varve_err *err, const char *what)
{
    return err_set(err, VARVE_ECORRUPT, "block has %s", what);
}

int block_walk_begin(struct block_walk *walk, struct varve_slice payload, uint64_t value_limit,
                     struct varve_err *err)
{
    const char *what = block_parse_begin(&walk->parse, payload, BLOCK_DATA, value_limit);

    walk->any = 0;
    walk->same_key = 0;
    walk->left = what == NULL ? walk->parse.count : 0;
    buf_shrink(&walk->key, KEY_KEEP_BYTES);
    return what == NULL ? 0 : walk_corrupt(err, what);
}

/* Only what is not shared can differ: that is compared, and put in place. */
static int walk_key(struct block_walk *walk, const struct block_parsed *parsed,
                    struct varve_err *err)
{
    size_t shared = (size_t)parsed->shared;
    size_t unshared = (size_t)parsed->unshared;
    int order = 1;

    if (walk->any)
        order = varve_slice_compare(varve_slice(parsed->key, unshared),
                                    varve_slice(walk->key.data + shared, walk->key.len - shared));
    if (order < 0 ||
        (order == 0 && parsed->seq >= walk->last_seq && !MUTANT("block-order-of-versions")))
        return walk_corrupt(err, "entries out of order");
    walk->same_key = order == 0;
    if (order == 0)
        return 0;
    walk->key.len = shared;
    if (buf_append(&walk->key, parsed->key, unshared) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a key");
    return 0;
}

int block_walk_next(struct block_walk *walk, struct varve_err *err)
{
    struct block_parsed parsed;
    const char *what;

    if (walk->left == 0) {
        what = block_parse_end(&walk->parse);
        return what == NULL ? 0 : walk_corrupt(err, what);
    }
    what = block_parse_entry(&walk->parse, &parsed);
    if (what != NULL)
        return walk_corrupt(err, what);
    int rc = walk_key(walk, &parsed, err);
    if (rc != 0)
        return rc;
    walk->left--;
    walk->any = 1;
    walk->last_seq = parsed.seq;
    struct entry *entry = &walk->entry;
    entry->seq = parsed.seq;
    entry->prior_unknown = (parsed.flags & ENTRY_PRIOR_UNKNOWN) != 0;
    entry->value_segment = NULL;
    entry->value_offset = parsed.value_offset;
    entry->value_packed_len = (uint32_t)parsed.packed_len;
    entry->chunk.kind = (enum chunk_kind)(parsed.flags & ENTRY_KIND_MASK);
    entry->chunk.crc = parsed.crc;
    entry->chunk.expire_ms = parsed.expire_ms;
    entry->chunk.key = buf_slice(&walk->key);
    entry->chunk.value = varve_slice(parsed.value, (size_t)parsed.value_len);
    if (parsed.flags & ENTRY_VALUE_OUTSIDE)
        entry->chunk.value.data = NULL;
    return 1;
}
