/* The map database -> space is kept in memory beside its records in space 0. It changes with the batch
 * that changes the records, and has to follow them when they are undone:
 *  - a batch that is dropped or refused puts back the copy made before its first change;
 *  - a group whose commit fails is undone by the engine without a word to us. So, after a change, the
 *    first call that finds the group closed looks whether the change is still applied, and if it is
 *    not, puts back the copy made before the group's first one (keyspace_settle).
 * Groups change only by keyspace_apply() and the sweep, which both come after such a call, so no new
 * sequence number hides an undone one. To read the records anew would not do: while a failed sync
 * heals, varve_get() shows what was durable before it, and the map has to stay ahead of that. */
#include "types/keyspace.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "types/keyspace_private.h"
#include "varve/db.h"

#define BATCH_KEEP_BYTES ((uint64_t)1024 * 1024)
/* What a new or flushed space counts for: each leaves a count group behind until the commit, and each
 * flush passes them all, so a group must not gather too many. */
#define MAP_CHANGE_BYTES ((uint64_t)8 * 1024)

/* ---- the map ---- */

void keyspace_settle(struct keyspace *keyspace)
{
    struct varve_stats stats;

    if (LIKELY(!keyspace->map_unsettled) || varve_group_open(keyspace->db))
        return;
    varve_stats(keyspace->db, &stats);
    if (stats.seq_applied < keyspace->map_group_seq)
        keyspace->map = keyspace->map_group;
    keyspace->map_unsettled = 0;
}

static void map_touch(struct keyspace *keyspace)
{
    if (keyspace->map_touched)
        return;
    keyspace->map_before = keyspace->map;
    keyspace->map_touched = 1;
}

/* ---- opening ---- */

int keyspace_open(struct varve_db *db, struct keyspace **keyspace, struct varve_err *err)
{
    struct keyspace *made = mem_alloc_zero(sizeof(*made));
    struct varve_stats stats;
    int rc = VARVE_ENOMEM;

    *keyspace = NULL;
    if (made == NULL)
        return err_set(err, VARVE_ENOMEM, "keyspace: out of memory");
    made->db = db;
    walk_page_init(&made->page);
    varve_stats(db, &stats);
    made->write_seq = stats.seq_applied;
    blocked_init(&made->blocked);
    buf_init(&made->scratch, VARVE_KEY_MAX_BYTES + sizeof(struct name_prefix));
    made->batch = varve_batch_create();
    made->sweep = varve_batch_create();
    if (made->batch == NULL || made->sweep == NULL) {
        err_set(err, rc, "keyspace: out of memory");
        goto out;
    }
    rc = space_map_load(db, &made->map, err);
out:
    if (rc != 0)
        keyspace_close(made);
    else
        *keyspace = made;
    return rc;
}

void keyspace_close(struct keyspace *keyspace)
{
    if (keyspace == NULL)
        return;
    varve_batch_destroy(keyspace->batch);
    varve_batch_destroy(keyspace->sweep);
    buf_deinit(&keyspace->scratch);
    walk_page_deinit(&keyspace->page);
    blocked_deinit(&keyspace->blocked);
    keyspace_unshow(keyspace);
    mem_free(keyspace);
}

const struct keyspace_stats *keyspace_stats(const struct keyspace *keyspace)
{
    return &keyspace->stats;
}

void keyspace_uncount_lookups(struct keyspace *keyspace, uint64_t hits, uint64_t misses)
{
    keyspace->stats.hits = hits;
    keyspace->stats.misses = misses;
}

void keyspace_get_stats(const struct keyspace *keyspace, struct keyspace_stats *stats)
{
    *stats = keyspace->stats;
}

void keyspace_reset_stats(struct keyspace *keyspace)
{
    const struct keyspace_stats *now = &keyspace->stats;

    keyspace->stats = (struct keyspace_stats){
        .blocked = now->blocked, .full = now->full, .refused = now->refused};
}

/* ---- reading ---- */

static void saw(uint64_t *seq, uint64_t record_seq)
{
    if (record_seq > *seq)
        *seq = record_seq;
}

static int corrupt_value(struct varve_slice key, struct varve_err *err)
{
    char name[128];

    return err_set(err, VARVE_ECORRUPT, "the value of key %s does not decode",
                   log_escape(key, name, sizeof(name)));
}

/* ---- lookups that would block ---- */

static COLD int note_blocked(struct keyspace *keyspace, struct varve_slice key,
                             uint64_t counted_space, int about, struct varve_err *err)
{
    int rc = blocked_note(&keyspace->blocked, key, counted_space, about);

    if (rc == VARVE_ENOMEM)
        err_set(err, rc, "out of memory for a key of %zu bytes", key.len);
    keyspace->stats.blocked = keyspace->blocked.count;
    return rc;
}

int keyspace_note_walk(struct keyspace *keyspace, const struct wanted_walk *wanted,
                       struct varve_err *err)
{
    struct blocked *blocked = &keyspace->blocked;
    unsigned at = blocked->count;

    if (keyspace->wanted_walk_count == COUNT_OF(keyspace->wanted_walks))
        return VARVE_WOULD_BLOCK;
    int rc = note_blocked(keyspace, varve_slice(NULL, 0), 0, 0, err);
    if (blocked->count == at)
        return rc;
    keyspace->wanted_walks[keyspace->wanted_walk_count++] = *wanted;
    blocked->notes[at].walk = keyspace->wanted_walk_count;
    return rc;
}

int keyspace_fetch(struct keyspace *keyspace, unsigned i, struct varve_fetch *fetch,
                   struct keyspace_wanted *wanted)
{
    const struct blocked_note *note = &keyspace->blocked.notes[i];
    struct varve_read read = {.uncommitted = 1, .dead = 1, .no_wait = 1};
    struct varve_slice key = varve_slice(keyspace->blocked.keys.data + note->at, note->len);

    CHECK(i < keyspace->blocked.count);
    *wanted = (struct keyspace_wanted){0};
    if (note->walk != 0)
        return walk_job_start(keyspace, &keyspace->wanted_walks[note->walk - 1], fetch,
                              &wanted->walk);
    *wanted = (struct keyspace_wanted){
        .counted_space = note->counted_space, .about = note->about, .hash = blocked_hash(key)};
    if (note->counted_space != 0)
        return note->about ? varve_fetch_count_about(keyspace->db, key, fetch)
                           : varve_fetch_count(keyspace->db, key, fetch);
    return varve_fetch_start(keyspace->db, &read, key, fetch);
}

void keyspace_fetch_cancel(struct keyspace_wanted *wanted, struct varve_fetch *fetch)
{
    if (wanted->walk != NULL)
        walk_job_cancel(wanted->walk);
    else
        varve_fetch_cancel(fetch);
}

void keyspace_fetch_release(struct keyspace_wanted *wanted, struct varve_fetch *fetch)
{
    walk_job_free(wanted->walk);
    wanted->walk = NULL;
    varve_fetch_release(fetch);
}

void keyspace_forget_blocked(struct keyspace *keyspace)
{
    blocked_forget(&keyspace->blocked);
    keyspace->wanted_walk_count = 0;
    keyspace->stats.blocked = 0;
    keyspace->stats.full = 0;
    keyspace_begin(keyspace);
}

void keyspace_let_wait(struct keyspace *keyspace, int wait)
{
    keyspace->blocked.wait = wait;
}

void keyspace_know_fetched(struct keyspace *keyspace, const struct keyspace_wanted *wanted,
                           struct varve_fetch *fetch)
{
    if (wanted->walk != NULL)
        walk_job_know(keyspace, wanted->walk);
    else if (wanted->counted_space == 0)
        blocked_know_fetched(&keyspace->blocked, wanted->hash, fetch);
    else if (fetch->rc == 0)
        blocked_know_count(&keyspace->blocked, wanted->counted_space, wanted->about, fetch->count);
}

void keyspace_forget_fetched(struct keyspace *keyspace)
{
    blocked_forget_known(&keyspace->blocked);
    keyspace->blocked.wait = 0;
    keyspace->known_walks = NULL;
}

uint64_t keyspace_write_delay_us(const struct keyspace *keyspace, enum varve_stall_cause *cause)
{
    return varve_write_delay_us(keyspace->db, cause);
}

uint64_t keyspace_write_round_bytes(const struct keyspace *keyspace)
{
    return varve_write_round_bytes(keyspace->db);
}

/* Reads the record of a name, expired or not. */
static int record_get(struct keyspace *keyspace, const struct space *space, struct varve_slice key,
                      uint64_t now_ms, struct varve_pin *pin, struct varve_err *err)
{
    struct varve_read read = {.now_ms = now_ms,
                              .uncommitted = keyspace->writer == NULL &&
                                             !MUTANT("read-before-turn"),
                              .dead = 1,
                              .no_wait = !keyspace->blocked.wait};
    struct buf *scratch = &keyspace->scratch;
    struct name_prefix prefix;

    if (UNLIKELY(keyspace->stats.blocked == KEYSPACE_BLOCKED_MAX))
        return VARVE_WOULD_BLOCK;
    name_prefix_set(&prefix, &space->prefix, name_hash(key));
    buf_clear(scratch);
    int rc = buf_reserve(scratch, prefix.len + key.len);
    if (rc == VARVE_EFULL) /* longer than any key can be: so it is not there */
        return VARVE_NOT_FOUND;
    if (rc != 0)
        return err_set(err, rc, "out of memory for a key of %zu bytes", key.len);
    memcpy(scratch->data, prefix.bytes, prefix.len);
    if (key.len > 0)
        memcpy(scratch->data + prefix.len, key.data, key.len);
    scratch->len = prefix.len + key.len;
    read.fetched = blocked_fetched(&keyspace->blocked, buf_slice(scratch));
    rc = varve_get(keyspace->db, &read, buf_slice(scratch), pin, err);
    if (UNLIKELY(rc == VARVE_WOULD_BLOCK))
        rc = MUTANT("blocked-is-absent") ? VARVE_NOT_FOUND
                                         : note_blocked(keyspace, buf_slice(scratch), 0, 0, err);
    if (UNLIKELY(scratch->cap > KEYSPACE_SCRATCH_BYTES)) {
        buf_clear(scratch);
        buf_shrink(scratch, KEYSPACE_SCRATCH_BYTES);
    }
    return rc;
}

void keyspace_group_grew(struct keyspace *keyspace, int opened, uint64_t bytes)
{
    keyspace->group_bytes = (opened ? 0 : keyspace->group_bytes) + bytes;
    keyspace->groups_opened += (uint64_t)opened;
}

/* Deletes a name that expired. That it cannot be is no error: it stays absent for every reader. */
static COLD void sweep_expired(struct keyspace *keyspace, const struct space *space,
                               struct varve_slice key)
{
    struct name_prefix prefix;
    uint64_t seq;

    if (keyspace->keep_expired || keyspace->writer != NULL ||
        varve_writable(keyspace->db, NULL) != 0)
        return;
    name_prefix_set(&prefix, &space->prefix, name_hash(key));
    struct varve_slice parts[2] = {name_prefix_slice(&prefix), key};
    varve_batch_clear(keyspace->sweep);
    if (varve_batch_delete(keyspace->sweep, parts, 2) != 0)
        return;
    uint64_t bytes = varve_batch_size(keyspace->sweep) + KEYSPACE_OP_BYTES;
    int opened = !varve_group_open(keyspace->db);
    if (varve_group_add(keyspace->db, keyspace->sweep, &seq, NULL) != 0)
        return;
    keyspace_group_grew(keyspace, opened, bytes);
    keyspace->write_seq = seq;
    keyspace->stats.expired_keys++;
}

/* While a failed sync heals, the space too is the one that varve_get() shows. */
static COLD int space_shown(struct keyspace *keyspace, int db, struct space *shown,
                            struct varve_err *err)
{
    uint8_t record[3];
    struct varve_slice key = database_key(record, db);
    struct varve_read read = {.uncommitted = 1,
                              .no_wait = !keyspace->blocked.wait,
                              .fetched = blocked_fetched(&keyspace->blocked, key)};
    int rc = space_load(keyspace->db, &read, db, shown, err);

    return rc == VARVE_WOULD_BLOCK ? note_blocked(keyspace, key, 0, 0, err) : rc;
}

int keyspace_lookup_live(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                         struct varve_pin *pin, uint64_t *seq, struct varve_err *err)
{
    const struct space *space = space_of(keyspace, db);
    struct space shown;
    int rc = 0;

    keyspace->looked++;
    keyspace_settle(keyspace);
    if (UNLIKELY(varve_writable(keyspace->db, NULL) != 0)) {
        if (keyspace->writer != NULL) {
            /* So that nothing of this command is shown, be the log healed by then. */
            if (!MUTANT("show-while-failed"))
                keyspace->map_version = 0;
            return VARVE_WOULD_BLOCK;
        }
        rc = space_shown(keyspace, db, &shown, err);
        if (rc != 0)
            return rc;
        space = &shown;
    }
    saw(seq, space->map_seq);
    if (space->id == 0)
        return VARVE_NOT_FOUND;
    rc = record_get(keyspace, space, key, now_ms, pin, err);
    saw(seq, pin->seq);
    if (rc != 0)
        return rc;
    if (UNLIKELY(pin->expire_ms != 0 && pin->expire_ms <= now_ms)) {
        varve_pin_release(pin);
        sweep_expired(keyspace, space, key);
        return VARVE_NOT_FOUND;
    }
    return 0;
}

void keyspace_keep_expired(struct keyspace *keyspace, int keep)
{
    keyspace->keep_expired = keep;
}

int keyspace_space_now(struct keyspace *keyspace, int db, struct space *space, uint64_t *seq,
                       struct varve_err *err)
{
    keyspace_settle(keyspace);
    if (varve_writable(keyspace->db, NULL) != 0) {
        int rc = space_shown(keyspace, db, space, err);
        if (rc != 0)
            return rc;
    } else {
        *space = *space_of(keyspace, db);
    }
    saw(seq, space->map_seq);
    return 0;
}

/* What was undone since is not waited for. */
void keyspace_saw_newest(const struct keyspace *keyspace, uint64_t *seq)
{
    struct varve_stats stats;

    varve_stats(keyspace->db, &stats);
    saw(seq, keyspace->write_seq < stats.seq_applied ? keyspace->write_seq : stats.seq_applied);
}

static void count_lookup(struct keyspace *keyspace, enum keyspace_lookup lookup, int rc)
{
    if (lookup != KEYSPACE_READ)
        return;
    keyspace->stats.hits += rc == 0;
    keyspace->stats.misses += rc == VARVE_NOT_FOUND;
}

int keyspace_get(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                 enum keyspace_lookup lookup, struct keyspace_value *value, uint64_t *seq,
                 struct varve_err *err)
{
    value->pin = (struct varve_pin){0};
    int rc = keyspace_lookup_live(keyspace, db, key, now_ms, &value->pin, seq, err);

    count_lookup(keyspace, lookup, rc);
    if (rc != 0)
        return rc;
    value->expire_ms = value->pin.expire_ms;
    if (value_decode(value->pin.value, &value->type, &value->encoding, &value->payload) != 0) {
        varve_pin_release(&value->pin);
        return corrupt_value(key, err);
    }
    return 0;
}

void keyspace_release(struct keyspace_value *value)
{
    varve_pin_release(&value->pin);
}

int keyspace_exists(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                    enum keyspace_lookup lookup, uint64_t *seq, struct varve_err *err)
{
    struct varve_pin pin = {0};
    int rc = keyspace_lookup_live(keyspace, db, key, now_ms, &pin, seq, err);

    count_lookup(keyspace, lookup, rc);
    if (rc == 0)
        varve_pin_release(&pin);
    return rc;
}

/* Longer names are left out: a hint is not worth more than a little copying. */
#define PREFETCH_KEY_MAX_BYTES 64

void keyspace_prefetch(struct keyspace *keyspace, int db, enum varve_intent intent,
                       const struct varve_slice *keys, size_t count)
{
    uint8_t bytes[KEYSPACE_PREFETCH_MAX][sizeof(struct name_prefix) + PREFETCH_KEY_MAX_BYTES];
    struct varve_slice engine_keys[KEYSPACE_PREFETCH_MAX];
    const struct space *space = space_of(keyspace, db);
    struct name_prefix prefix;
    size_t used = 0;

    if (space->id == 0)
        return;
    for (size_t i = 0; i < count && used < KEYSPACE_PREFETCH_MAX; i++) {
        if (keys[i].len == 0 || keys[i].len > PREFETCH_KEY_MAX_BYTES)
            continue;
        name_prefix_set(&prefix, &space->prefix, name_hash(keys[i]));
        memcpy(bytes[used], prefix.bytes, prefix.len);
        memcpy(bytes[used] + prefix.len, keys[i].data, keys[i].len);
        engine_keys[used] = varve_slice(bytes[used], prefix.len + keys[i].len);
        used++;
    }
    varve_prefetch(keyspace->db, intent, engine_keys, used);
}

/* Did the transaction that runs write anything yet? */
static int transaction_wrote(const struct keyspace *keyspace)
{
    struct varve_group_mark now;

    if (!keyspace->marked)
        return 0;
    varve_group_mark(keyspace->db, &now);
    return now.count != keyspace->mark.group.count;
}

static int count_names(struct keyspace *keyspace, int db, int about, uint64_t *count, uint64_t *seq,
                       struct varve_err *err)
{
    *count = 0;
    keyspace_settle(keyspace);
    const struct space *space = space_of(keyspace, db);
    saw(seq, space->map_seq);
    if (space->id == 0)
        return 0;
    keyspace_saw_newest(keyspace, seq); /* an upper bound that waits for a little more */
    struct varve_slice group = key_prefix_slice(&space->prefix);
    int known = blocked_known_count(&keyspace->blocked, space->id, about, count);
    /* It was fetched while the writes of a transaction were cut: they are counted here, the rest is remembered. */
    int again = known && transaction_wrote(keyspace) && !MUTANT("count-before-transaction");
    if (UNLIKELY(known && !again))
        return 0;
    int rc = varve_count_now(keyspace->db, group, count, err);
    if (rc != VARVE_WOULD_BLOCK)
        return rc;
    if (keyspace->blocked.wait || again)
        return about ? varve_count_about(keyspace->db, group, count, err)
                     : varve_count(keyspace->db, group, count, err);
    return note_blocked(keyspace, group, space->id, about, err);
}

int keyspace_count(struct keyspace *keyspace, int db, uint64_t *count, uint64_t *seq,
                   struct varve_err *err)
{
    return count_names(keyspace, db, 0, count, seq, err);
}

int keyspace_count_about(struct keyspace *keyspace, int db, uint64_t *count, uint64_t *seq,
                         struct varve_err *err)
{
    return count_names(keyspace, db, 1, count, seq, err);
}

/* ---- writing ---- */

void keyspace_begin(struct keyspace *keyspace)
{
    if (keyspace->map_touched) {
        keyspace->map = keyspace->map_before;
        keyspace->map_touched = 0;
    }
    if (keyspace->batch != NULL)
        varve_batch_clear(keyspace->batch);
}

static int batch_failed(int rc, struct varve_slice key, struct varve_err *err)
{
    if (rc == VARVE_EINVAL)
        return err_set(err, rc, "key or value too long (key of %zu bytes)", key.len);
    return err_set(err, rc, "out of memory");
}

static int batch_ready(struct keyspace *keyspace, struct varve_err *err)
{
    keyspace_settle(keyspace);
    if (keyspace->batch == NULL)
        keyspace->batch = varve_batch_create();
    return keyspace->batch == NULL ? err_set(err, VARVE_ENOMEM, "out of memory") : 0;
}

static int batch_put_id(struct keyspace *keyspace, struct varve_slice key, struct varve_slice value,
                        struct varve_err *err)
{
    int rc = varve_batch_put(keyspace->batch, &key, 1, &value, 1, 0);

    return rc == 0 ? 0 : batch_failed(rc, key, err);
}

/* Gives the database a space, in the batch of its first write. */
static int space_claim(struct keyspace *keyspace, struct space *space, int db,
                       struct varve_err *err)
{
    uint8_t id[NEXT_SPACE_MAX_BYTES];
    uint8_t key[3];

    map_touch(keyspace);
    space->id = keyspace->map.next_id++;
    key_prefix_set(&space->prefix, space->id, KEY_TAG_NAME);
    int rc = batch_put_id(keyspace, database_key(key, db),
                          varve_slice(id, space_id_put(id, space->id)), err);
    if (rc == 0)
        rc = batch_put_id(keyspace, next_space_key(key),
                          varve_slice(id, next_space_put(id, keyspace->map.next_id)), err);
    return rc;
}

int keyspace_put(struct keyspace *keyspace, int db, struct varve_slice key, uint8_t head,
                 const struct varve_slice *parts, int part_count, uint64_t expire_ms,
                 struct varve_err *err)
{
    struct varve_slice value[1 + KEYSPACE_VALUE_PARTS_MAX] = {{.data = &head, .len = 1}};
    struct name_prefix prefix;
    int rc = batch_ready(keyspace, err);

    CHECK(part_count >= 0 && part_count <= KEYSPACE_VALUE_PARTS_MAX);
    if (rc != 0)
        return rc;
    struct space *space = space_of(keyspace, db);
    if (UNLIKELY(space->id == 0) && (rc = space_claim(keyspace, space, db, err)) != 0)
        return rc;
    for (int i = 0; i < part_count; i++)
        value[1 + i] = parts[i];
    expire_note_write(&keyspace->expire, db, expire_ms);
    name_prefix_set(&prefix, &space->prefix, name_hash(key));
    struct varve_slice name[2] = {name_prefix_slice(&prefix), key};
    rc = varve_batch_put(keyspace->batch, name, 2, value, 1 + part_count, expire_ms);
    return rc == 0 ? 0 : batch_failed(rc, key, err);
}

int keyspace_delete(struct keyspace *keyspace, int db, struct varve_slice key,
                    struct varve_err *err)
{
    struct name_prefix prefix;
    int rc = batch_ready(keyspace, err);

    if (rc != 0)
        return rc;
    const struct space *space = space_of(keyspace, db);
    if (space->id == 0)
        return 0;
    name_prefix_set(&prefix, &space->prefix, name_hash(key));
    struct varve_slice name[2] = {name_prefix_slice(&prefix), key};
    rc = varve_batch_delete(keyspace->batch, name, 2);
    return rc == 0 ? 0 : batch_failed(rc, key, err);
}

int keyspace_set_expiry(struct keyspace *keyspace, int db, struct varve_slice key,
                        const struct keyspace_value *value, uint64_t expire_ms,
                        struct varve_err *err)
{
    return keyspace_put(keyspace, db, key, value_head(value->type, value->encoding),
                        &value->payload, 1, expire_ms, err);
}

int keyspace_put_value(struct keyspace *keyspace, int db, struct varve_slice key,
                       const struct keyspace_value *value, struct varve_err *err)
{
    return keyspace_set_expiry(keyspace, db, key, value, value->expire_ms, err);
}

/* The record of a database as its space says. */
static int space_record(struct keyspace *keyspace, int db, struct varve_err *err)
{
    uint8_t key[3];
    struct varve_slice record = database_key(key, db);
    uint64_t id = space_of(keyspace, db)->id;
    uint8_t bytes[SPACE_ID_MAX_BYTES];

    if (id != 0)
        return batch_put_id(keyspace, record, varve_slice(bytes, space_id_put(bytes, id)), err);
    int rc = varve_batch_delete(keyspace->batch, &record, 1);
    return rc == 0 ? 0 : batch_failed(rc, record, err);
}

int keyspace_swap(struct keyspace *keyspace, int db, int other, struct varve_err *err)
{
    int rc = batch_ready(keyspace, err);

    if (rc != 0)
        return rc;
    struct space *a = space_of(keyspace, db);
    struct space *b = space_of(keyspace, other);
    if (a->id == b->id) /* neither has any, or it is one database */
        return 0;
    map_touch(keyspace);
    expire_forget(&keyspace->expire, db);
    expire_forget(&keyspace->expire, other);
    struct space swapped = *a;
    *a = *b;
    *b = swapped;
    rc = space_record(keyspace, db, err);
    if (rc == 0)
        rc = space_record(keyspace, other, err);
    if (rc != 0) /* they would seem swapped until the next batch begins */
        keyspace_begin(keyspace);
    return rc;
}

int keyspace_flush(struct keyspace *keyspace, int db, struct varve_err *err)
{
    uint8_t key[3];
    uint8_t begin[SPACE_ID_MAX_BYTES];
    uint8_t end[SPACE_ID_MAX_BYTES];
    uint64_t count = 0;
    int rc = batch_ready(keyspace, err);

    if (rc != 0)
        return rc;
    struct space *space = space_of(keyspace, db);
    if (space->id == 0)
        return 0;
    rc = varve_count_now(keyspace->db, key_prefix_slice(&space->prefix), &count, err);
    if (rc == VARVE_WOULD_BLOCK) /* the count is an upper bound */
        rc = 0;
    if (rc != 0 || (count == 0 && varve_batch_count(keyspace->batch) == 0))
        return rc;
    struct varve_slice record = database_key(key, db);
    rc = varve_batch_delete(keyspace->batch, &record, 1);
    if (rc == 0)
        rc = varve_batch_delete_range(keyspace->batch,
                                      varve_slice(begin, space_id_put(begin, space->id)),
                                      varve_slice(end, space_id_put(end, space->id + 1)));
    if (rc != 0)
        return batch_failed(rc, record, err);
    map_touch(keyspace);
    space->id = 0;
    return 0;
}

int keyspace_flush_all(struct keyspace *keyspace, struct varve_err *err)
{
    int rc = 0;

    for (int db = 0; rc == 0 && db < KEYSPACE_DATABASES_MAX; db++)
        rc = keyspace_flush(keyspace, db, err);
    if (rc != 0) /* the databases before would seem empty until the next batch begins */
        keyspace_begin(keyspace);
    return rc;
}

/* The group has the batch now: what it changed in the map waits for the commit. */
static void map_applied(struct keyspace *keyspace, uint64_t seq)
{
    if (LIKELY(!keyspace->map_touched))
        return;
    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++)
        if (keyspace->map.of_db[db].id != keyspace->map_before.of_db[db].id)
            keyspace->map.of_db[db].map_seq = seq;
    keyspace->map_touched = 0;
    if (keyspace->map_unsettled)
        return;
    keyspace->map_group = keyspace->map_before;
    keyspace->map_group_seq = seq;
    keyspace->map_unsettled = !MUTANT("map-not-undone");
    if (UNLIKELY(keyspace->shown != NULL))
        keyspace_hide(keyspace);
}

int keyspace_apply(struct keyspace *keyspace, uint64_t *seq, struct varve_err *err)
{
    uint64_t batch_seq = 0;

    if (UNLIKELY(keyspace->stats.blocked > 0) && !MUTANT("write-though-blocked"))
        return VARVE_WOULD_BLOCK;
    if (keyspace->batch == NULL || varve_batch_count(keyspace->batch) == 0)
        return 0;
    uint64_t bytes = varve_batch_size(keyspace->batch) +
                     (uint64_t)varve_batch_count(keyspace->batch) * KEYSPACE_OP_BYTES;
    if (UNLIKELY(keyspace->map_touched))
        bytes += MAP_CHANGE_BYTES;
    int opened = !varve_group_open(keyspace->db);
    int rc = varve_group_add(keyspace->db, keyspace->batch, &batch_seq, err);
    if (UNLIKELY(rc == VARVE_WOULD_BLOCK) && keyspace_mark_is_full(keyspace))
        rc = err_set(err, VARVE_EFULL,
                     "a transaction may not fill more than a memtable "
                     "(memtable-size)");
    keyspace->stats.full = rc == VARVE_WOULD_BLOCK;
    keyspace->stats.refused += rc < 0 && rc != VARVE_WOULD_BLOCK;
    if (rc == 0) {
        keyspace_group_grew(keyspace, opened, bytes);
        keyspace->write_seq = batch_seq;
        saw(seq, batch_seq);
        map_applied(keyspace, batch_seq);
    }
    if (UNLIKELY(bytes > BATCH_KEEP_BYTES)) {
        varve_batch_destroy(keyspace->batch);
        keyspace->batch = NULL;
    }
    keyspace_begin(keyspace);
    return rc;
}

/* ---- the engine behind it ---- */

int keyspace_group_open(const struct keyspace *keyspace)
{
    return varve_group_open(keyspace->db);
}

uint64_t keyspace_group_bytes(const struct keyspace *keyspace)
{
    return varve_group_open(keyspace->db) ? keyspace->group_bytes : 0;
}

void keyspace_sync(struct keyspace *keyspace, uint64_t *seq)
{
    struct varve_stats stats;

    varve_stats(keyspace->db, &stats);
    saw(seq, stats.seq_visible);
    varve_sync(keyspace->db);
}

uint64_t keyspace_now_ms(struct keyspace *keyspace)
{
    return varve_now_ms(keyspace->db);
}

int keyspace_writable(const struct keyspace *keyspace, struct varve_err *err)
{
    return varve_writable(keyspace->db, err);
}

struct varve_db *keyspace_engine(const struct keyspace *keyspace)
{
    return keyspace->db;
}
