/* Reads: one acquire load of the visible sequence, then the memtable; no lock, no shared counter. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

/* A longer value is checked where it comes in (recovery), not on each read. */
#define CRC_ON_READ_MAX_BYTES ((size_t)64 * 1024)

struct varve_snapshot {
    uint64_t seq;
    uint64_t now_ms;
};

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

int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err)
{
    struct entry record;

    *pin = (struct varve_pin){0};
    enum memtable_answer answer = memtable_get(db->memtable, key, db_read_seq(db, read), &record);
    if (answer == MEMTABLE_NONE)
        return VARVE_NOT_FOUND;
    pin->seq = record.seq;
    if (answer == MEMTABLE_DELETED)
        return VARVE_NOT_FOUND;
    int rc = db_record_check(&record, err);
    if (rc != 0)
        return rc;
    if (record.chunk.expire_ms != 0 && !(read != NULL && read->dead) &&
        db_record_expired(&record, db_read_now(db, read)))
        return VARVE_NOT_FOUND;
    pin->value = record.chunk.value;
    pin->expire_ms = record.chunk.expire_ms;
    return 0;
}

void varve_prefetch(struct varve_db *db, const struct varve_slice *keys, size_t count)
{
    memtable_prefetch(db->memtable, keys,
                      count < MEMTABLE_PREFETCH_MAX ? count : MEMTABLE_PREFETCH_MAX);
}

/* The memtable lives as long as the database is open, so a pin has nothing to hold yet. */
void varve_pin_release(struct varve_pin *pin)
{
    *pin = (struct varve_pin){0};
}

int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err)
{
    *count = 0;
    if (group.len == 0 || group.len > VARVE_GROUP_MAX_BYTES)
        return err_set(err, VARVE_EINVAL, "a count group has a name of 1 to %d bytes",
                       VARVE_GROUP_MAX_BYTES);
    int64_t live = counts_get(&db->counts, group);
    CHECK(live >= 0);
    *count = (uint64_t)live;
    return 0;
}

/* ---- snapshots ---- */

struct varve_snapshot *varve_snapshot_acquire(struct varve_db *db)
{
    struct varve_snapshot *snapshot = mem_alloc(sizeof(*snapshot));

    if (snapshot == NULL)
        return NULL;
    *snapshot = (struct varve_snapshot){.seq = db_newest_seq(db), .now_ms = varve_now_ms(db)};
    atomic_fetch_add(&db->snapshots, 1);
    return snapshot;
}

void varve_snapshot_release(struct varve_db *db, struct varve_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    atomic_fetch_sub(&db->snapshots, 1);
    mem_free(snapshot);
}

uint64_t varve_snapshot_seq(const struct varve_snapshot *snapshot)
{
    return snapshot->seq;
}

uint64_t varve_snapshot_now_ms(const struct varve_snapshot *snapshot)
{
    return snapshot->now_ms;
}
