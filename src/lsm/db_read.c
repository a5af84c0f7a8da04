/* Reads: two acquire loads, of the view and of the visible sequence, then the layers from the newest on; no
 * lock, no shared counter. The first layer that knows anything of the key decides, since for one key it is
 * newer than all behind it. */
#include "lsm/db.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

/* A longer value is checked where it comes in (recovery), not on each read. */
#define CRC_ON_READ_MAX_BYTES ((size_t)64 * 1024)

uint64_t varve_now_ms(struct varve_db *db)
{
    uint64_t now_ms = db->env->ops->now_real_ms(db->env);
    uint64_t seen = atomic_load_explicit(&db->clock_ms, memory_order_relaxed);

    while (now_ms > seen) {
        if (atomic_compare_exchange_weak_explicit(&db->clock_ms, &seen, now_ms,
                                                  memory_order_relaxed, memory_order_relaxed))
            return now_ms;
    }
    return seen;
}

/* What is newest: in VARVE_ALWAYS nothing that a failed sync left in doubt is shown (README). A failed
 * write leaves nothing in doubt: what was written before it may be acknowledged still, and a reader
 * must not fall behind that. */
static uint64_t db_newest_seq(const struct varve_db *db)
{
    if (UNLIKELY(atomic_load_explicit(&db->wal.sync.failed, memory_order_acquire)) &&
        atomic_load(&db->durability) == VARVE_ALWAYS && !MUTANT("show-in-doubt"))
        return atomic_load_explicit(&db->wal.sync.durable_seq, memory_order_acquire);
    return atomic_load_explicit(&db->visible_seq, memory_order_acquire);
}

uint64_t db_read_seq(const struct varve_db *db, const struct varve_read *read)
{
    if (read == NULL)
        return db_newest_seq(db);
    if (read->snapshot != NULL)
        return read->snapshot->seq;
    if (read->uncommitted && db->undo.count > 0)
        return db->applied_seq;
    return db_newest_seq(db);
}

/* Names the key of a record whose CRC fails; the key may hold anything. */
static int record_damaged(struct varve_slice key, uint64_t seq, struct varve_err *err)
{
    char hex[64 + 4] = "";
    size_t shown = key.len < 32 ? key.len : 32;

    for (size_t i = 0; i < shown; i++)
        snprintf(hex + 2 * i, 3, "%02x", key.data[i]);
    return err_set(err, VARVE_ECORRUPT, "record %llu of key 0x%s%s: its CRC does not match",
                   (unsigned long long)seq, hex, shown < key.len ? "..." : "");
}

int db_record_check(const struct entry *record, struct varve_err *err)
{
    if (record->chunk.value.len > CRC_ON_READ_MAX_BYTES ||
        chunk_crc(&record->chunk) == record->chunk.crc)
        return 0;
    return record_damaged(record->chunk.key, record->seq, err);
}

int db_record_expired(const struct entry *record, uint64_t now_ms)
{
    return record->chunk.expire_ms != 0 && record->chunk.expire_ms <= now_ms &&
           !MUTANT("ignore-expiry");
}

uint64_t db_read_now(struct varve_db *db, const struct varve_read *read)
{
    if (read != NULL && read->snapshot != NULL)
        return read->snapshot->now_ms;
    return read != NULL && read->now_ms != 0 ? read->now_ms : varve_now_ms(db);
}

/* ---- threads ---- */

void varve_enter(void)
{
    rcu_enter();
}

void varve_leave(void)
{
    rcu_leave();
}

/* ---- lookup ---- */

struct view *db_read_view(const struct varve_db *db, const struct varve_read *read, uint64_t *seq)
{
    /* What a sequence sees must be in the view: neither may a memtable have been swapped between the two
     * loads, nor a flush have dropped what only an older sequence sees. */
    for (;;) {
        struct view *view = view_current(&db->view);
        *seq = db_read_seq(db, read);
        atomic_thread_fence(memory_order_acquire);
        if (LIKELY(view == atomic_load_explicit(&db->view.current, memory_order_relaxed)) ||
            MUTANT("skip-view-recheck"))
            return view;
    }
}

static int lookup_version(const struct varve_db *db, const struct view *view,
                          struct varve_slice key, uint64_t seq, const struct segment_read *read,
                          struct entry *entry, struct segment_hold *hold, struct varve_err *err)
{
    struct varve_db *mutable = (struct varve_db *)(uintptr_t)db; /* for its counters */
    uint64_t range_seq = range_set_seq(view->version->ranges, key, seq);
    int rc = version_get(view->version, key, range_seq, seq, read, mutable->reads + thread_slot(),
                         entry, hold, err);

    if (rc == 0 && entry->seq > range_seq && entry->chunk.kind == CHUNK_PUT)
        return 0;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        return rc;
    uint64_t decided = rc == 0 && entry->seq > range_seq ? entry->seq : range_seq;
    segment_hold_release(hold);
    *entry = (struct entry){.seq = decided};
    return VARVE_NOT_FOUND;
}

/* The newest memtable that says something of the key; NULL: none does. */
static inline struct memtable *lookup_memtables(const struct view *view, size_t from,
                                                struct varve_slice key, uint64_t seq,
                                                struct entry *entry, enum memtable_answer *answer)
{
    for (size_t i = from; i <= view->immutable_count; i++) {
        size_t at = MUTANT("oldest-memtable-first") ? view->immutable_count + from - i : i;
        struct memtable *layer = at == 0 ? view->active : view->immutable[at - 1];
        *answer = memtable_get(layer, key, seq, entry);
        if (*answer != MEMTABLE_NONE)
            return layer;
    }
    return NULL;
}

int db_lookup(const struct varve_db *db, const struct view *view, size_t from_memtable,
              struct varve_slice key, uint64_t seq, const struct segment_read *read,
              struct entry *entry, struct segment_hold *hold, struct memtable **memtable,
              struct varve_err *err)
{
    enum memtable_answer answer;

    *hold = (struct segment_hold){0};
    *memtable = lookup_memtables(view, from_memtable, key, seq, entry, &answer);
    if (*memtable != NULL)
        return answer == MEMTABLE_VALUE ? 0 : VARVE_NOT_FOUND;
    if (view->version->run_count == 0) {
        *entry = (struct entry){0};
        return VARVE_NOT_FOUND;
    }
    return lookup_version(db, view, key, seq, read, entry, hold, err);
}

/* ---- pins ---- */

void varve_pin_keep(struct varve_pin *pin)
{
    if (pin->kept)
        return;
    if (pin->owner[PIN_BLOCK] != NULL)
        cached_ref(pin->owner[PIN_BLOCK]);
    if (pin->owner[PIN_MEMTABLE] != NULL)
        memtable_ref(pin->owner[PIN_MEMTABLE]);
    pin->kept = 1;
}

void varve_pin_release(struct varve_pin *pin)
{
    if (pin->kept) {
        cached_unref(pin->owner[PIN_BLOCK]);
        memtable_unref(pin->owner[PIN_MEMTABLE]);
    }
    *pin = (struct varve_pin){0};
}

/* ---- get ---- */

/* A value that lies in a block of its own is fetched now; the block that named it is let go. */
static int pin_value(const struct entry *entry, const struct segment_read *read,
                     struct segment_hold *hold, struct varve_pin *pin, struct varve_err *err)
{
    struct segment_hold value_hold = {0};

    pin->value = entry->chunk.value;
    if (LIKELY(entry->value_segment == NULL))
        return 0;
    int rc = entry_value(entry, read, &pin->value, &value_hold, err);
    segment_hold_release(hold);
    *hold = value_hold;
    return rc;
}

/* The same read waited for this. */
static COLD int get_fetched(struct varve_db *db, const struct varve_read *read,
                            struct varve_slice key, const struct version *version, uint64_t seq,
                            struct varve_pin *pin, struct varve_err *err)
{
    int rc = fetch_find(read, version->flushed_seq, seq, key, pin, err);

    if (rc == 0 && !read->dead && pin->expire_ms != 0 && pin->expire_ms <= db_read_now(db, read)) {
        uint64_t record_seq = pin->seq;
        varve_pin_release(pin);
        pin->seq = record_seq;
        return VARVE_NOT_FOUND;
    }
    return rc;
}

static int is_expired(struct varve_db *db, const struct varve_read *read, const struct entry *entry)
{
    return entry->chunk.expire_ms != 0 && !(read != NULL && read->dead) &&
           db_record_expired(entry, db_read_now(db, read));
}

/* 1: a row says what the segments say. One that expired is left to them: compactions may have dropped it. */
static int find_row(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                    uint64_t seq, struct entry *entry, struct segment_hold *hold)
{
    if (!row_cache_find(db->rows, key, seq, entry, &hold->cached))
        return 0;
    if (entry->chunk.expire_ms == 0 || entry->chunk.expire_ms > db_read_now(db, read) ||
        MUTANT("row-expired"))
        return 1;
    *hold = (struct segment_hold){0};
    return 0;
}

static int get_row(const struct entry *entry, const struct segment_hold *hold,
                   struct varve_pin *pin, struct varve_err *err)
{
    int rc = db_record_check(entry, err);

    pin->seq = entry->seq;
    if (rc != 0)
        return rc;
    pin->value = entry->chunk.value;
    pin->expire_ms = entry->chunk.expire_ms;
    pin->owner[PIN_BLOCK] = hold->cached;
    return 0;
}

/* What no memtable knows. */
static int get_from_segments(struct varve_db *db, const struct varve_read *read,
                             struct varve_slice key, const struct view *view, uint64_t seq,
                             struct varve_pin *pin, struct varve_err *err)
{
    struct segment_read how = {
        .wait = read != NULL && read->no_wait ? SEGMENT_NO_WAIT : SEGMENT_WAIT,
        .no_fill = read != NULL && read->no_fill,
    };
    struct segment_hold hold = {0};
    struct entry entry;
    int rc;

    if (view->version->run_count == 0)
        return VARVE_NOT_FOUND;
    int newest = db->rows != NULL && (read == NULL || read->snapshot == NULL);
    if (newest && !row_cache_is_empty(db->rows) && find_row(db, read, key, seq, &entry, &hold))
        return get_row(&entry, &hold, pin, err);
    rc = lookup_version(db, view, key, seq, &how, &entry, &hold, err);
    if (rc == 0 || rc == VARVE_NOT_FOUND)
        pin->seq = entry.seq;
    if (rc == VARVE_WOULD_BLOCK && read->fetched != NULL)
        return get_fetched(db, read, key, view->version, seq, pin, err);
    if (rc != 0)
        return rc;
    rc = is_expired(db, read, &entry) ? VARVE_NOT_FOUND : pin_value(&entry, &how, &hold, pin, err);
    if (rc != 0) {
        segment_hold_release(&hold);
        *pin = (struct varve_pin){.seq = pin->seq};
        if (rc == VARVE_WOULD_BLOCK && read->fetched != NULL)
            return get_fetched(db, read, key, view->version, seq, pin, err);
        return rc;
    }
    if (newest && hold.fetched && !how.no_fill && entry.value_segment == NULL &&
        row_cache_offer(db->rows, &entry, view->version->flushed_seq))
        db_reclaim(db);
    pin->value.len = entry.chunk.value.len;
    pin->expire_ms = entry.chunk.expire_ms;
    pin->owner[PIN_BLOCK] = hold.cached;
    pin->kept = hold.counted;
    return 0;
}

static int get_inside(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_pin *pin, struct varve_err *err)
{
    enum memtable_answer answer;
    struct entry entry;
    uint64_t seq;
    const struct view *view = db_read_view(db, read, &seq);
    struct memtable *memtable = lookup_memtables(view, 0, key, seq, &entry, &answer);

    if (memtable == NULL)
        return get_from_segments(db, read, key, view, seq, pin, err);
    pin->seq = entry.seq;
    if (answer != MEMTABLE_VALUE || is_expired(db, read, &entry))
        return VARVE_NOT_FOUND;
    int rc = db_record_check(&entry, err);
    if (rc != 0)
        return rc;
    pin->value = entry.chunk.value;
    pin->expire_ms = entry.chunk.expire_ms;
    pin->owner[PIN_MEMTABLE] = memtable;
    return 0;
}

int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err)
{
    int was_inside = rcu_inside();

    *pin = (struct varve_pin){0};
    if (!was_inside)
        rcu_enter();
    int rc = get_inside(db, read, key, pin, err);
    if (!was_inside) {
        if (rc == 0)
            varve_pin_keep(pin);
        rcu_leave();
    }
    /* A read that met no block made it no tighter. */
    if (pin->owner[PIN_MEMTABLE] == NULL && UNLIKELY(cache_is_tight(db->cache)) && rcu_pending())
        db_reclaim(db);
    return rc;
}

/* ---- hints ---- */

/* Those keys of which the bit is set, in front. Returns how many they are. */
static size_t keep_keys(struct varve_slice *keys, size_t count, uint32_t wanted)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (wanted & (uint32_t)1 << i)
            keys[kept++] = keys[i];
    return kept;
}

/* What neither the active memtable nor a row answers. */
static void prefetch_behind(const struct view *view, struct varve_slice *keys, size_t count)
{
    for (size_t i = 0; i < view->immutable_count && count > 0; i++)
        count = keep_keys(keys, count, memtable_prefetch(view->immutable[i], keys, count));
    if (count > 0)
        version_prefetch(view->version, keys, count);
}

void varve_prefetch(struct varve_db *db, enum varve_intent intent, const struct varve_slice *keys,
                    size_t count)
{
    _Static_assert(VARVE_PREFETCH_MAX <= MEMTABLE_PREFETCH_MAX, "handed on as they are");
    int rows = db->rows != NULL && !row_cache_is_empty(db->rows);
    struct varve_slice left[VARVE_PREFETCH_MAX];
    uint64_t hashes[VARVE_PREFETCH_MAX];

    if (count > VARVE_PREFETCH_MAX)
        count = VARVE_PREFETCH_MAX;
    rcu_enter();
    const struct view *view = view_current(&db->view);
    if (rows)
        row_cache_prefetch_index(db->rows, keys, count, hashes);
    uint32_t absent = memtable_prefetch(view->active, keys, count);
    if (rows)
        absent &= ~row_cache_prefetch_rows(db->rows, hashes, count);
    if (intent == VARVE_TO_READ && absent != 0) {
        memcpy(left, keys, count * sizeof(*left));
        prefetch_behind(view, left, keep_keys(left, count, absent));
    }
    rcu_leave();
}

/* ---- snapshots ---- */

static void take_newest(struct varve_snapshot *snapshot, void *db)
{
    snapshot->seq = db_newest_seq(db);
    snapshot->now_ms = varve_now_ms(db);
}

struct varve_snapshot *varve_snapshot_acquire(struct varve_db *db)
{
    struct varve_snapshot *snapshot = mem_alloc(sizeof(*snapshot));

    if (snapshot == NULL)
        return NULL;
    *snapshot = (struct varve_snapshot){0};
    snapshots_add(&db->snapshots, snapshot, take_newest, db);
    return snapshot;
}

void varve_snapshot_release(struct varve_db *db, struct varve_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    snapshots_remove(&db->snapshots, snapshot);
    mem_free(snapshot);
    compactor_poke(&db->compactor); /* what only it needed may go */
}

uint64_t varve_snapshot_seq(const struct varve_snapshot *snapshot)
{
    return snapshot->seq;
}

uint64_t varve_snapshot_now_ms(const struct varve_snapshot *snapshot)
{
    return snapshot->now_ms;
}
