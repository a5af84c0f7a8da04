/* The single writer. A write goes into the memtable at once, under a sequence number that is not
 * visible yet, and into the open group of the log; the commit writes the group with one write() and
 * publishes it. If the log write fails, the group's records are popped off the memtable again, newest
 * first, and nobody has seen them (I2). The alternative, an overlay that is merged after the write,
 * would insert everything twice. */
#include "lsm/db.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/block.h"

#define PREFETCH_MIN 4
#define SYNC_AFTER_US ((uint64_t)800000)
#define SLOW_TICK_US ((uint64_t)500000)
#define RANGE_FLUSH_US ((uint64_t)1000000)
#define HOLD_AFTER_US ((uint64_t)1800000) /* a tick may be 100 ms late */

/* ---- counts ---- */

static struct varve_slice db_group_of(const struct varve_db *db, struct varve_slice key)
{
    size_t len = db->options.count_group == NULL ? 0
                                                 : db->options.count_group(db->options.arg, key);

    CHECK(len <= VARVE_GROUP_MAX_BYTES && len <= key.len);
    return varve_slice(key.data, len);
}

/* True if no key that begins with name is at or behind end. */
static int group_ends_before(struct varve_slice name, struct varve_slice end)
{
    size_t common = name.len < end.len ? name.len : end.len;

    return memcmp(name.data, end.data, common) < 0;
}

/* A group that is new to the memtable: do the layers below know of it? */
static void count_place_group(struct varve_db *db, struct varve_slice name,
                              struct count_group *group)
{
    rcu_enter();
    const struct view *view = view_current(&db->view);
    int known = version_group(view->version, name) != NULL;
    for (size_t i = 0; !known && i < view->immutable_count; i++)
        known = counts_find(&memtable_notes(view->immutable[i])->counts, name) != NULL;
    rcu_leave();
    group->placed = 1;
    group->fresh = !known;
}

static int undo_reserve_range(struct undo_log *undo)
{
    if (undo->range_count < undo->range_cap)
        return 0;
    size_t cap = undo->range_cap == 0 ? 16 : undo->range_cap * 2;
    struct undo_range *grown = mem_realloc(undo->ranges, cap * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    undo->ranges = grown;
    undo->range_cap = cap;
    return 0;
}

/* What a range tombstone does to the count of a group: one that lies wholly in it starts anew, one that
 * is cut is not known any more. */
static int count_range_group(struct varve_db *db, struct varve_slice name,
                             const struct chunk *range, uint64_t seq)
{
    struct undo_log *undo = &db->undo;

    if (varve_slice_compare(range->value, name) <= 0)
        return 0;
    int whole = varve_slice_compare(range->key, name) <= 0 && group_ends_before(name, range->value);
    if (!whole && varve_slice_compare(range->key, name) > 0 &&
        (range->key.len < name.len || memcmp(range->key.data, name.data, name.len) != 0))
        return 0; /* it begins behind the group */
    struct count_group *group = counts_at(&memtable_notes(db->memtable)->counts, name);
    if (group == NULL || undo_reserve_range(undo) != 0)
        return VARVE_ENOMEM;
    undo->ranges[undo->range_count++] = (struct undo_range){.op = undo->count, .group = *group};
    if (!whole) {
        group->cut = 1;
        return 0;
    }
    group->reset = 1;
    group->cut = 0;
    group->live = 0;
    group->unknown = 0;
    group->reset_seq = seq;
    return 0;
}

static int count_range_memtable(struct varve_db *db, const struct counts *counts,
                                const struct chunk *range, uint64_t seq)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < counts->cap; i++) {
        const struct count_group *group = &counts->slots[i];
        if (group->name_len != 0)
            rc = count_range_group(db, varve_slice(group->name, group->name_len), range, seq);
    }
    return rc;
}

/* All groups of all layers that the range touches. */
static int count_take_range(struct varve_db *db, const struct chunk *range, uint64_t seq)
{
    rcu_enter();
    const struct view *view = view_current(&db->view);
    const struct version *version = view->version;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < version->group_count; i++)
        rc = count_range_group(
            db, varve_slice(version->groups[i].name, version->groups[i].name_len), range, seq);
    for (size_t i = 0; rc == 0 && i < view->immutable_count; i++)
        rc = count_range_memtable(db, &memtable_notes(view->immutable[i])->counts, range, seq);
    if (rc == 0)
        rc = count_range_memtable(db, &memtable_notes(view->active)->counts, range, seq);
    rcu_leave();
    return rc;
}

static void count_give_back_ranges(struct varve_db *db, size_t from_op)
{
    struct undo_log *undo = &db->undo;

    while (undo->range_count > 0 && undo->ranges[undo->range_count - 1].op >= from_op) {
        const struct count_group *saved = &undo->ranges[--undo->range_count].group;
        struct count_group *group = counts_at(&memtable_notes(db->memtable)->counts,
                                              varve_slice(saved->name, saved->name_len));
        CHECK(group != NULL); /* it was made when it was saved */
        *group = *saved;
    }
}

/* ---- one record ---- */

static int undo_reserve(struct undo_log *undo)
{
    if (undo->count < undo->cap)
        return 0;
    size_t cap = undo->cap == 0 ? 64 : undo->cap * 2;
    struct undo_op *grown = mem_realloc(undo->ops, cap * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    undo->ops = grown;
    undo->cap = cap;
    return 0;
}

static int apply_range(struct varve_db *db, uint64_t seq, const struct chunk *chunk)
{
    struct undo_op *op = &db->undo.ops[db->undo.count];
    enum memtable_prior prior;
    int rc = MUTANT("count-ignores-range") ? 0 : count_take_range(db, chunk, seq);

    if (rc == 0)
        rc = memtable_add(db->memtable, seq, chunk, &prior, &op->memtable);
    if (rc != 0)
        count_give_back_ranges(db, db->undo.count);
    op->count_live = 0;
    op->count_unknown = 0;
    return rc;
}

static int apply_point(struct varve_db *db, uint64_t seq, const struct chunk *chunk)
{
    struct undo_op *op = &db->undo.ops[db->undo.count];
    struct varve_slice name = db_group_of(db, chunk->key);
    struct count_group *group = NULL;
    enum memtable_prior prior;

    if (name.len > 0) {
        group = counts_at(&memtable_notes(db->memtable)->counts, name);
        if (group == NULL)
            return VARVE_ENOMEM;
        if (!group->placed)
            count_place_group(db, name, group);
    }
    int rc = memtable_add(db->memtable, seq, chunk, &prior, &op->memtable);
    if (rc != 0)
        return rc;
    memtable_notes(db->memtable)->expiring += chunk->expire_ms != 0;
    op->count_live = 0;
    op->count_unknown = 0;
    if (group == NULL)
        return 0;
    op->count_live = (chunk->kind == CHUNK_PUT) - (prior == MEMTABLE_PRIOR_LIVE);
    op->count_unknown = prior == MEMTABLE_PRIOR_NONE && !group->reset;
    group->live += op->count_live;
    group->unknown += op->count_unknown;
    return 0;
}

int db_apply(struct varve_db *db, uint64_t seq, const struct chunk *chunk, int with_undo,
             struct varve_err *err)
{
    int rc = undo_reserve(&db->undo);

    if (rc == 0)
        rc = chunk->kind == CHUNK_RANGE_DELETE ? apply_range(db, seq, chunk)
                                               : apply_point(db, seq, chunk);
    if (rc != 0)
        return err_set(err, rc, "no memory to apply a record");
    db->applied_seq = seq;
    if (with_undo)
        db->undo.count++;
    else
        db->undo.range_count = 0;
    if (!with_undo)
        counts_compact(&memtable_notes(db->memtable)->counts);
    return 0;
}

/* Takes the operations from index `from` on back, newest first. */
static void db_undo_to(struct varve_db *db, size_t from)
{
    struct undo_log *undo = &db->undo;

    while (undo->count > from) {
        struct undo_op *op = &undo->ops[--undo->count];
        memtable_undo_add(db->memtable, &op->memtable);
        count_give_back_ranges(db, undo->count);
        if (op->count_live != 0 || op->count_unknown != 0) {
            struct count_group *group = counts_at(&memtable_notes(db->memtable)->counts,
                                                  db_group_of(db, op->memtable.key));
            CHECK(group != NULL);
            group->live -= op->count_live;
            group->unknown -= op->count_unknown;
        }
        db->applied_seq--;
    }
}

/* ---- the group ---- */

void db_fail(struct varve_db *db, const struct varve_err *err)
{
    if (atomic_exchange(&db->failed, 1))
        return;
    db->failure = *err;
    db->failures++;
    db_log(db, 4, "writes are refused: %s", err_text(err));
}

/* A sync that failed is noticed here, on the writer's thread. */
static int db_check_failed(struct varve_db *db, struct varve_err *err)
{
    if (atomic_load_explicit(&db->wal.sync.failed, memory_order_acquire) &&
        !atomic_load(&db->failed)) {
        mutex_lock(&db->wal.sync.mutex);
        struct varve_err why = db->wal.sync.err;
        mutex_unlock(&db->wal.sync.mutex);
        db_fail(db, &why);
    }
    if (!atomic_load_explicit(&db->failed, memory_order_relaxed))
        return 0;
    return err_set(err, VARVE_EREADONLY, "%s", err_text(&db->failure));
}

int varve_writable(const struct varve_db *db, struct varve_err *err)
{
    if (!atomic_load(&db->failed) && !atomic_load(&db->wal.sync.failed))
        return 0;
    return err_set(err, VARVE_EREADONLY, "%s",
                   atomic_load(&db->failed) ? err_text(&db->failure) : "a log sync failed");
}

/* ---- memtables ---- */

static uint32_t db_waiting_memtables(const struct varve_db *db)
{
    rcu_enter();
    uint32_t count = (uint32_t)view_current(&db->view)->immutable_count;
    rcu_leave();
    return count;
}

int db_swap_memtable(struct varve_db *db)
{
    struct memtable_notes *notes = memtable_notes(db->memtable);

    CHECK(db->undo.count == 0);
    if (db_waiting_memtables(db) + 1 >= db->options.memtables_max)
        return VARVE_EFULL;
    struct memtable *fresh = memtable_create_pooled(&db->arenas);
    if (fresh == NULL)
        return VARVE_ENOMEM;
    notes->last_seq = db->applied_seq;
    notes->wal_file_no = db->wal.log == NULL ? db->recovering_file_no : db->wal.log->file_no;
    memtable_notes(fresh)->id = notes->id + 1;
    /* From here on the flusher may free the old memtable. */
    int rc = view_swap_memtable(&db->view, fresh);
    if (rc != 0)
        return rc;
    db->memtable = fresh;
    db->swapped_us = db->now_us;
    if (db->wal.log != NULL)
        flusher_poke(&db->flusher);
    return 0;
}

/* Between two groups, where it may be due. */
static void db_start_flush(struct varve_db *db)
{
    int full = memtable_used_bytes(db->memtable) >= db->options.memtable_size_bytes;

    if ((full || db_waiting_memtables(db) == 0) && db_swap_memtable(db) == 0)
        db_refresh_load(db);
}

/* A batch is taken as long as the active memtable is not full, however long the batch is; a full one
 * gives way to a fresh one, unless too many wait, or the group is open: that may fill it twice. Tombstones
 * may use a little more: whoever deletes wants to get out of the trouble. */
static int db_check_room(struct varve_db *db, const struct varve_batch *batch,
                         struct varve_err *err)
{
    uint64_t limit = db->options.memtable_size_bytes;
    uint64_t used = memtable_used_bytes(db->memtable);
    struct batch_cursor cursor = {0};
    struct chunk chunk;

    if (LIKELY(used < limit))
        return 0;
    int rc = db->undo.count == 0 ? db_swap_memtable(db) : VARVE_EFULL;
    if (rc == 0)
        return 0;
    if (db_waiting_memtables(db) + 1 < db->options.memtables_max)
        limit *= 2;
    if (used < limit)
        return 0;
    int deletes_only = 1;
    uint64_t cost = batch->memtable_cost;
    while (deletes_only && batch_next(batch, &cursor, &chunk)) {
        deletes_only = chunk.kind != CHUNK_PUT;
        if (chunk.kind == CHUNK_RANGE_DELETE)
            cost += memtable_range_cost_bytes(db->memtable, chunk.key, chunk.value);
    }
    if (deletes_only && used + cost <= limit + limit / 16)
        return 0;
    if (rc == VARVE_ENOMEM)
        return err_set(err, rc, "no memory for another memtable");
    rc = flusher_is_failing(&db->flusher, err);
    if (rc != 0)
        return err_wrap(err, rc, "the memtables are full, and");
    return err_set(
        err, VARVE_WOULD_BLOCK,
        "the memtables are full (%llu bytes in the newest of %u) and wait for their flush",
        (unsigned long long)used, db_waiting_memtables(db) + 1);
}

int varve_group_open(const struct varve_db *db)
{
    return db->undo.count > 0;
}

int varve_group_is_full(const struct varve_db *db)
{
    return varve_group_open(db) && memtable_used_bytes(db->memtable) - db->group_memtable_bytes >=
                                       db->options.memtable_size_bytes;
}

/* The cache misses of the first keys of a larger batch, side by side. */
static void db_prefetch_batch(const struct varve_db *db, const struct varve_batch *batch)
{
    struct varve_slice keys[MEMTABLE_PREFETCH_MAX];
    struct batch_cursor cursor = {0};
    struct chunk chunk;
    size_t count = 0;

    while (count < MEMTABLE_PREFETCH_MAX && batch_next(batch, &cursor, &chunk))
        keys[count++] = chunk.key;
    memtable_prefetch(db->memtable, keys, count);
}

void varve_group_mark(const struct varve_db *db, struct varve_group_mark *mark)
{
    struct wal_group_mark log = wal_group_mark(&db->wal);

    *mark = (struct varve_group_mark){
        .count = db->undo.count,
        .bytes = db->group_bytes,
        .log = {log.ops_len, log.borrowed_count, log.borrowed_bytes},
    };
}

void varve_group_cut(struct varve_db *db, const struct varve_group_mark *mark)
{
    struct wal_group_mark log = {mark->log[0], mark->log[1], mark->log[2]};

    CHECK(mark->count <= db->undo.count);
    db_undo_to(db, mark->count);
    if (!MUTANT("cut-keeps-log"))
        wal_group_cut(&db->wal, log);
    db->group_bytes = mark->bytes;
}

/* A borrowed value has its one copy in the memtable, from where it goes into the log, too. */
static void db_take_borrowed(struct varve_db *db, size_t i, const struct chunk *chunk,
                             const struct batch_cursor *cursor)
{
    struct varve_slice lead = cursor->lead;
    struct varve_slice tail = cursor->tail;
    uint8_t *value = memtable_added_value(&db->undo.ops[db->undo.count - 1].memtable);

    if (chunk->value.data == NULL) {
        memcpy(value, lead.data, lead.len);
        memcpy(value + lead.len, tail.data, tail.len);
    }
    if (!MUTANT("log-keeps-borrowing"))
        wal_group_move(&db->wal, i, varve_slice(value + lead.len, tail.len));
}

int varve_group_add(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                    struct varve_err *err)
{
    struct varve_group_mark before;
    struct batch_cursor cursor = {0};
    struct chunk chunk;
    int rc = db_check_failed(db, err);

    varve_group_mark(db, &before);
    if (seq != NULL)
        *seq = 0;
    if (rc == 0)
        rc = space_check(&db->space, batch, db->user_bytes + db->group_bytes, err);
    if (rc == 0)
        rc = db_check_room(db, batch, err);
    if (rc != 0 || batch->count == 0)
        return rc;
    if (!varve_group_open(db))
        db->group_memtable_bytes = memtable_used_bytes(db->memtable);
    rc = wal_group_add(&db->wal, batch);
    if (rc != 0)
        return err_set(err, rc, "a log record: %s", varve_status_name(rc));
    if (batch->count >= PREFETCH_MIN)
        db_prefetch_batch(db, batch);
    while (rc == 0 && batch_next(batch, &cursor, &chunk)) {
        rc = db_apply(db, db->applied_seq + 1, &chunk, 1, err);
        if (rc == 0 && UNLIKELY(cursor.tail.len > 0))
            db_take_borrowed(db, before.log[1] + cursor.next_borrowed - 1, &chunk, &cursor);
    }
    if (rc != 0) {
        varve_group_cut(db, &before);
        return rc;
    }
    db->group_bytes += batch->size_bytes;
    if (seq != NULL)
        *seq = db->applied_seq;
    return 0;
}

/* What a failed write left behind is overwritten, so that it does not come back to life after a
 * crash. Best effort: only the new file that healing makes settles it. */
static void db_blot_out(struct varve_db *db)
{
    static const uint8_t zeros[RECORD_HEADER_BYTES];
    struct varve_slice part = varve_slice(zeros, sizeof(zeros));
    struct log_writer *log = db->wal.log;

    (void)db->env->ops->write_at(db->env, log->file, &part, 1, log->offset, NULL);
}

/* So old is the oldest byte that a power cut could take. */
static void db_note_age(struct varve_db *db, uint64_t age_us)
{
    uint64_t hold_at_us = age_us == 0 ? UINT64_MAX : db->now_us - age_us + HOLD_AFTER_US;

    db->holding = age_us >= HOLD_AFTER_US;
    atomic_store_explicit(&db->hold_at_us, hold_at_us, memory_order_relaxed);
}

/* awaited: somebody waits for each sync. */
static int db_commit(struct varve_db *db, int awaited, struct varve_err *err)
{
    struct varve_err why = {0};
    size_t count = db->undo.count;

    if (count == 0)
        return 0;
    db->wal.go_ahead = awaited;
    int rc = db_check_failed(db, &why);
    if (MUTANT("publish-before-write"))
        atomic_store(&db->visible_seq, db->applied_seq);
    if (rc == 0) {
        uint64_t first = db->applied_seq - count + 1;
        rc = wal_group_write(&db->wal, first, (uint32_t)count, varve_now_ms(db), &why);
        if (rc != 0 && rc != VARVE_ENOMEM && rc != VARVE_EFULL) {
            db_blot_out(db);
            db_fail(db, &why);
        }
    }
    if (rc != 0) {
        if (!MUTANT("keep-failed-group"))
            db_undo_to(db, 0);
        db->undo.count = 0;
        db->group_bytes = 0;
        wal_group_cut(&db->wal, (struct wal_group_mark){0});
        if (err != NULL)
            *err = why;
        return rc;
    }
    db->undo.count = 0;
    db->undo.range_count = 0;
    db->now_us = db->wal.last_write_us;
    struct wal_mark written = {.seq = db->applied_seq, .place = wal_end(&db->wal)};
    db_note_age(db, wal_sync_written(&db->wal.sync, written, db->now_us));
    if (!awaited)
        wal_write_behind(&db->wal);
    atomic_store_explicit(&db->visible_seq, db->applied_seq - (MUTANT("publish-late") ? 1 : 0),
                          memory_order_release);
    counts_compact(&memtable_notes(db->memtable)->counts);
    wal_make_ready(&db->wal, db->now_us);
    if (UNLIKELY(arena_pool_wants(&db->arenas)))
        db_reclaim(db);
    stall_wrote(&db->stall, db->group_bytes, db->now_us);
    db->user_bytes += db->group_bytes;
    db->group_bytes = 0;
    if (UNLIKELY(memtable_used_bytes(db->memtable) >= db->memtable_start_bytes))
        db_start_flush(db);
    return 0;
}

int varve_group_commit(struct varve_db *db, struct varve_err *err)
{
    int always = atomic_load_explicit(&db->durability, memory_order_relaxed) == VARVE_ALWAYS;
    int rc = db_commit(db, always, err);

    if (rc == 0 && always)
        wal_sync_start(&db->wal.sync);
    return rc;
}

/* Lets the time pass that the stall asks for; a stepping executor runs jobs meanwhile. */
static void db_hold_back(struct varve_db *db)
{
    struct varve_executor *executor = db->options.executor;
    uint64_t delay_us = varve_write_delay_us(db, NULL);

    if (LIKELY(delay_us == 0))
        return;
    if (executor->help != NULL)
        executor->help(executor);
    else
        thread_sleep_us(delay_us);
    varve_tick(db);
}

static int db_add_waiting(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                          struct varve_err *err)
{
    db_hold_back(db);
    int rc = varve_group_add(db, batch, seq, err);
    while (rc == VARVE_WOULD_BLOCK && db->undo.count == 0) {
        db_wait_flush(db);
        rc = varve_group_add(db, batch, seq, err);
    }
    return rc;
}

int varve_write(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                struct varve_err *err)
{
    int rc = db_add_waiting(db, batch, seq, err);

    return rc != 0 ? rc : varve_group_commit(db, err);
}

int varve_write_durable(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                        struct varve_err *err)
{
    uint64_t last = 0;
    int rc = db_add_waiting(db, batch, &last, err);

    if (rc == 0)
        rc = db_commit(db, 1, err);
    if (rc == 0)
        rc = wal_sync_wait(&db->wal.sync, db->applied_seq, err);
    if (seq != NULL)
        *seq = last;
    return rc;
}

/* ---- durability ---- */

uint64_t varve_durable_seq(const struct varve_db *db)
{
    if (MUTANT("ack-before-sync"))
        return UINT64_MAX;
    return atomic_load_explicit(&db->wal.sync.durable_seq, memory_order_acquire);
}

uint64_t varve_ack_seq(const struct varve_db *db, uint64_t seq)
{
    int mode = atomic_load_explicit(&db->durability, memory_order_relaxed);

    if (mode == VARVE_ALWAYS)
        return seq;
    if (mode == VARVE_NO || MUTANT("never-hold"))
        return 0;
    return db->holding ? seq : 0;
}

uint64_t varve_read_ack_seq(const struct varve_db *db, uint64_t seq, uint64_t now_us)
{
    int mode = atomic_load_explicit(&db->durability, memory_order_relaxed);

    if (mode == VARVE_NO || seq <= varve_durable_seq(db) || MUTANT("read-never-holds"))
        return 0;
    if (mode == VARVE_ALWAYS)
        return seq;
    return now_us >= atomic_load_explicit(&db->hold_at_us, memory_order_relaxed) ? seq : 0;
}

uint64_t varve_visible_seq(const struct varve_db *db)
{
    return atomic_load_explicit(&db->visible_seq, memory_order_acquire);
}

int varve_wait_durable(struct varve_db *db, uint64_t seq, struct varve_err *err)
{
    if (varve_durable_seq(db) >= seq)
        return 0;
    return wal_sync_wait(&db->wal.sync, seq, err);
}

void varve_sync(struct varve_db *db)
{
    wal_sync_start(&db->wal.sync);
}

void varve_set_durability(struct varve_db *db, enum varve_durability durability)
{
    int before = atomic_exchange(&db->durability, (int)durability);

    /* Who waits for a sync that the mode before would have started still gets it (or gets healing). */
    if (before != (int)durability && !atomic_load(&db->failed))
        wal_sync_start(&db->wal.sync);
}

static void db_tick_sync(struct varve_db *db)
{
    struct wal_sync *sync = &db->wal.sync;
    uint64_t waiting_us = wal_sync_waiting_us(sync, db->now_us);

    switch ((enum varve_durability)atomic_load(&db->durability)) {
    case VARVE_ALWAYS:
        if (waiting_us > 0)
            wal_sync_start(sync);
        break;
    case VARVE_EVERYSEC:
        if (waiting_us >= SYNC_AFTER_US)
            wal_sync_start(sync);
        break;
    case VARVE_NO:
        if (wal_sync_full_count(sync) > 0)
            wal_sync_start(sync);
        break;
    }
}

/* ---- back-pressure ---- */

void db_refresh_load(struct varve_db *db)
{
    uint64_t size = db->options.memtable_size_bytes;
    uint64_t max = db->options.memtables_max;
    struct stall_load load = {
        .memtable_soft_bytes = max * size / 2,
        .memtable_hard_bytes = max * size,
        .segments_max = db->options.segments_max,
    };

    compactor_load(&db->compactor, &load);
    db->memtable_start_bytes = flusher_start_bytes(&db->flusher);
    rcu_enter();
    const struct view *view = view_current(&db->view);
    for (size_t i = 0; i < view->immutable_count; i++) {
        uint64_t used = memtable_used_bytes(view->immutable[i]);
        load.memtable_bytes += used < size ? used : size;
    }
    load.segments = (uint32_t)view->version->segment_count;
    rcu_leave();
    uint64_t used = memtable_used_bytes(db->memtable);
    load.memtable_bytes += used < size ? used : size;
    load.memtables_dead_bytes = MUTANT("memory-brings-nothing")
                                    ? 0
                                    : (uint64_t)((double)load.flush_dead_bytes *
                                                 (double)load.memtable_bytes /
                                                 (double)db->memtable_start_bytes);
    stall_set_load(&db->stall, &load, db->env->ops->now_mono_us(db->env));
}

uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause)
{
    uint64_t delay_us = LIKELY(db->stall.rate_bytes == 0)
                            ? 0
                            : stall_delay_us(&db->stall, db->env->ops->now_mono_us(db->env));

    if (cause != NULL)
        *cause = db->stall.rate_bytes == 0 ? VARVE_STALL_NONE : db->stall.cause;
    return delay_us;
}

uint64_t varve_write_round_bytes(const struct varve_db *db)
{
    return stall_round_bytes(&db->stall);
}

/* A range tombstone in memory that covers segments should not wait until the memtable is full: only in a
 * segment does it make others superfluous. */
static int range_is_due(struct varve_db *db)
{
    int due = 0;

    if (db->now_us - db->swapped_us < RANGE_FLUSH_US || memtable_range_count(db->memtable) == 0)
        return 0;
    rcu_enter();
    const struct version *version = view_current(&db->view)->version;
    struct entry range;
    for (const struct memtable_range *at = memtable_next_range(db->memtable, NULL, &range);
         !due && at != NULL; at = memtable_next_range(db->memtable, at, &range))
        due = version_older_overlaps(version, 0, NULL, 0, range.chunk.key, range.chunk.value);
    rcu_leave();
    return due;
}

/* On a full disk a delete frees nothing before its tombstone is in a segment, and a memtable of tombstones is
 * not full for long. */
static int flush_makes_room(struct varve_db *db)
{
    return atomic_load_explicit(&db->space.wants_flush, memory_order_relaxed) &&
           db->now_us - db->swapped_us >= RANGE_FLUSH_US && !memtable_is_empty(db->memtable) &&
           !MUTANT("full-keeps-tombstones");
}

/* The memory of past memtables and blocks is kept for the next ones as long as something is written, for that is what
 * makes past ones; then that of blocks goes by and by. */
static void db_tick_memory(struct varve_db *db)
{
    if (db->arenas_user_bytes == db->user_bytes) {
        arena_pool_clear(&db->arenas);
        block_memory_age();
    }
    db_check_spare(db);
    db->arenas_user_bytes = db->user_bytes;
}

/* What is due about every tick: the flusher and the compactor are woken, a range tombstone that makes
 * whole segments superfluous is flushed. */
static void db_tick_background(struct varve_db *db)
{
    /* If too many wait, the next tick tries again. */
    if (db->undo.count == 0 && range_is_due(db) && db_swap_memtable(db) != 0 &&
        MUTANT("tick-ends-at-full"))
        return;
    if (db->undo.count == 0 && flush_makes_room(db) && db_swap_memtable(db) == 0)
        atomic_store(&db->space.wants_flush, 0);
    flusher_poke(&db->flusher);
    if (cache_is_tight(db->cache))
        db_reclaim(db);
    int slow = db->now_us - db->slow_tick_us >= SLOW_TICK_US;
    if (slow) {
        db->slow_tick_us = db->now_us;
        db_tick_memory(db);
        compactor_poke(&db->compactor);
    }
    space_tick(&db->space, db->user_bytes + db->group_bytes, slow);
    db_refresh_load(db);
}

void varve_tick(struct varve_db *db)
{
    struct varve_err err = {0};

    db->now_us = db->env->ops->now_mono_us(db->env);
    db_tick_background(db);
    if (db->undo.count == 0)
        count_queue_tick(db);
    if (db_check_failed(db, NULL) != 0) {
        heal_tick(&db->heal, db->now_us);
        return;
    }
    db_note_age(db, wal_sync_age_us(&db->wal.sync, db->now_us));
    db_tick_sync(db);
    if (db->undo.count == 0 &&
        wal_promise(&db->wal, db->applied_seq + 1, varve_now_ms(db), &err) != 0) {
        db_blot_out(db);
        db_fail(db, &err);
    }
    if (db->wal.records > 0)
        wal_make_ready(&db->wal, db->now_us);
}
