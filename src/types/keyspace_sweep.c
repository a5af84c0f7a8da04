/* What the active expirer does to the keyspace (expirer.h). */
#include "base/mutant.h"
#include "types/keyspace_private.h"

static int key_of_name(struct buf *key, const struct key_prefix *space, struct varve_slice name)
{
    struct name_prefix prefix;

    name_prefix_set(&prefix, space, name_hash(name));
    buf_clear(key);
    int rc = buf_append(key, prefix.bytes, prefix.len);
    return rc != 0 ? rc : buf_append(key, name.data, name.len);
}

int keyspace_sweep(struct keyspace *keyspace, uint64_t space_id, const struct keyspace_dead *names,
                   size_t count, uint64_t as_of, uint64_t *missed)
{
    struct buf *scratch = &keyspace->scratch;
    struct key_prefix space;
    uint64_t seq;
    int rc = 0;

    key_prefix_set(&space, space_id, KEY_TAG_NAME);
    varve_batch_clear(keyspace->sweep);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = key_of_name(scratch, &space, names[i].name);
        if (rc != 0)
            break;
        struct varve_slice key = buf_slice(scratch);
        int newest = varve_is_newest(keyspace->db, key, names[i].seq, as_of);
        if (MUTANT("expire-blind"))
            newest = 1;
        *missed += newest == VARVE_WOULD_BLOCK;
        if (newest == 1)
            rc = varve_batch_delete(keyspace->sweep, &key, 1);
    }
    buf_clear(scratch);
    buf_shrink(scratch, KEYSPACE_SCRATCH_BYTES);
    uint32_t deleted = varve_batch_count(keyspace->sweep);
    if (rc != 0 || deleted == 0)
        return rc;
    int opened = !varve_group_open(keyspace->db);
    rc = varve_group_add(keyspace->db, keyspace->sweep, &seq, NULL);
    if (rc != 0)
        return rc;
    keyspace_group_grew(keyspace, opened,
                        varve_batch_size(keyspace->sweep) + (uint64_t)deleted * KEYSPACE_OP_BYTES);
    keyspace->write_seq = seq;
    keyspace->stats.expired_keys += MUTANT("expire-counts-all") ? count : deleted;
    return 0;
}
