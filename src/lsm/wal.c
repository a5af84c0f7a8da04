#include "lsm/wal.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

#define GROUP_KEEP_BYTES ((size_t)1024 * 1024)
#define CLOCK_EVERY_MS 1000
#define SLOW_WRITE_US 1000
#define PAGE_BYTES ((uint64_t)4096)
#define BEHIND_BYTES ((uint64_t)1024 * 1024)
#define IDLE_US ((uint64_t)1000000)
/* What a long header says is said again after so many bytes: where damage took one, the next one is not far. */
#define LONG_EVERY_BYTES ((uint64_t)16 * 1024)

struct wal_group_mark wal_group_mark(const struct wal *wal)
{
    return (struct wal_group_mark){
        .ops_len = wal->ops.len,
        .borrowed_count = wal->borrowed.count,
        .borrowed_bytes = wal->borrowed_bytes,
    };
}

void wal_group_cut(struct wal *wal, struct wal_group_mark mark)
{
    wal->ops.len = mark.ops_len;
    wal->borrowed.count = mark.borrowed_count;
    wal->borrowed_bytes = mark.borrowed_bytes;
}

int wal_group_add(struct wal *wal, const struct varve_batch *batch)
{
    struct wal_group_mark before = wal_group_mark(wal);
    int rc = buf_append(&wal->ops, batch->ops.data, batch->ops.len);

    for (size_t i = 0; rc == 0 && i < batch->borrowed.count; i++) {
        rc = borrowed_list_add(&wal->borrowed, before.ops_len + batch->borrowed.items[i].at,
                               batch->borrowed.items[i].bytes);
        wal->borrowed_bytes += batch->borrowed.items[i].bytes.len;
    }
    if (rc == 0 && wal->ops.len + wal->borrowed_bytes > WAL_GROUP_MAX_BYTES)
        rc = VARVE_EFULL;
    if (rc != 0)
        wal_group_cut(wal, before);
    return rc;
}

void wal_group_move(struct wal *wal, size_t i, struct varve_slice bytes)
{
    CHECK(i < wal->borrowed.count && wal->borrowed.items[i].bytes.len == bytes.len);
    wal->borrowed.items[i].bytes = bytes;
}

struct log_place wal_end(const struct wal *wal)
{
    return (struct log_place){.file_no = wal->log->file_no, .offset = wal->log->offset};
}

int wal_stage_begin(struct log_writer *log, uint64_t next_seq, struct log_place manifest,
                    struct log_place previous)
{
    uint8_t payload[BEGIN_PAYLOAD_BYTES];
    struct record_header header = {.type = RECORD_BEGIN, .first_seq = next_seq};

    put_u64(payload, manifest.file_no);
    put_u64(payload + 8, manifest.offset);
    put_u64(payload + 16, previous.file_no);
    put_u64(payload + 24, previous.offset);
    return log_writer_stage_small(log, header, payload, sizeof(payload));
}

void wal_make_ready(struct wal *wal, uint64_t now_us)
{
    if (wal->log->offset >= wal->file_size / 2)
        wal_pool_fill(&wal->pool, now_us);
}

void wal_write_behind(struct wal *wal)
{
    const struct log_writer *log = wal->log;
    uint64_t to = log->offset / PAGE_BYTES * PAGE_BYTES; /* what is written again would go twice */

    if (wal->behind.file_no != log->file_no)
        wal->behind = (struct log_place){.file_no = log->file_no};
    if (LIKELY(log->offset < wal->behind.offset + BEHIND_BYTES))
        return;
    if (wal_sync_write_behind(&wal->sync, wal->behind.offset, to))
        wal->behind.offset = to;
}

/* A file that is full gives way to one that is ready. */
static int wal_rotate(struct wal *wal, uint64_t next_seq, struct varve_err *err)
{
    struct record_header seal = {.type = RECORD_SEAL, .first_seq = next_seq};
    struct wal_ready ready;

    /* unreached: a file that has no begin record yet is made ready, and not full */
    if (wal->log->offset < wal->file_size || wal->begin_due ||
        wal_pool_ready_count(&wal->pool) == 0)
        return 0;
    /* What can fail without the disk comes first: behind a seal, and past a file that is named in the
     * manifest and stays empty, no log can go on. */
    if (wal_sync_full_count(&wal->sync) == WAL_UNSYNCED_FILES_MAX)
        return err_set(err, VARVE_EFULL, "%d full WAL files wait for a sync",
                       WAL_UNSYNCED_FILES_MAX);
    seal.promised = wal_sync_durable(&wal->sync).place;
    int rc = log_writer_stage_small(wal->log, seal, NULL, 0);
    if (rc != 0) /* unreached: the begin record took more memory in this file, and it is kept */
        return err_set(err, rc, "no memory for a seal");
    /* unreached: nobody but this thread takes a ready file while the log is whole */
    if (!wal_pool_take(&wal->pool, &ready)) {
        log_writer_unstage(wal->log);
        return 0;
    }
    rc = log_writer_flush(wal->log, err);
    struct log_place end = wal_end(wal);
    if (rc != 0) { /* the log has failed: healing drops the empty file */
        log_writer_close(ready.log);
        return rc;
    }
    rc = wal_sync_rotate(&wal->sync, wal->log, ready.log); /* a sync may close the old file now */
    CHECK(rc == 0);                                        /* nobody else adds to its list */
    /* The seal waits for a sync like all else: the group may fail yet, and a close follow. */
    wal_sync_written(&wal->sync, (struct wal_mark){.seq = next_seq - 1, .place = end},
                     wal->env->ops->now_mono_us(wal->env));
    wal->live_bytes += end.offset;
    wal->files++;
    wal->log = ready.log;
    wal->long_end = 0;
    wal->begin_due = 1;
    wal->begin_manifest = ready.manifest;
    wal->begin_previous = end;
    return 0;
}

static int wal_stage_due_begin(struct wal *wal, uint64_t next_seq)
{
    if (!wal->begin_due)
        return 0;
    return wal_stage_begin(wal->log, next_seq, wal->begin_manifest, wal->begin_previous);
}

static int wal_reserve_parts(struct wal *wal, size_t count)
{
    if (count <= wal->part_cap)
        return 0;
    struct varve_slice *grown = mem_realloc(wal->parts, 2 * count * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    wal->parts = grown;
    wal->part_cap = 2 * count;
    return 0;
}

/* The group as slices: runs of `ops` with the borrowed values between them. */
static size_t wal_group_parts(struct wal *wal, const uint8_t clock[8], int with_clock)
{
    size_t count = 0;
    size_t at = 0;

    if (with_clock)
        wal->parts[count++] = varve_slice(clock, 8);
    for (size_t i = 0; i < wal->borrowed.count; i++) {
        const struct borrowed *value = &wal->borrowed.items[i];
        wal->parts[count++] = varve_slice(wal->ops.data + at, value->at - at);
        wal->parts[count++] = value->bytes;
        at = value->at;
    }
    wal->parts[count++] = varve_slice(wal->ops.data + at, wal->ops.len - at);
    return count;
}

static int wal_flush(struct wal *wal, struct varve_err *err)
{
    uint64_t staged = wal->log->staged_bytes;
    uint64_t started_us = wal->env->ops->now_mono_us(wal->env);
    int rc = MUTANT("skip-log-write") ? 0 : log_writer_flush(wal->log, err);

    if (rc == 0 && wal->go_ahead)
        log_writer_go_ahead(wal->log);
    wal->last_write_us = wal->env->ops->now_mono_us(wal->env);
    if (wal->last_write_us - started_us > SLOW_WRITE_US)
        wal->slow_writes++;
    if (rc == 0) {
        wal->written_bytes += staged;
        wal->begin_due = 0;
    }
    return rc;
}

/* Is there nothing to say but the one operation, and what was said of late? */
static int wal_is_short(const struct wal *wal, const struct record_header *header)
{
    uint64_t behind = wal->log->offset - wal->long_end;
    const struct log_place *promised = &header->promised;

    return header->op_count == 1 && header->flags == 0 && !wal->begin_due && wal->long_end != 0 &&
           (behind < LONG_EVERY_BYTES || MUTANT("long-only-once")) &&
           ((promised->offset == wal->promised.offset &&
             promised->file_no == wal->promised.file_no) ||
            MUTANT("short-for-a-promise")) &&
           wal->borrowed.count == 0 && wal->ops.len <= RECORD_SHORT_MAX_BYTES;
}

static int wal_stage_short(struct wal *wal, uint64_t seq)
{
    struct varve_slice op = buf_slice(&wal->ops);
    struct chunk chunk;

    return log_writer_stage_short(wal->log, seq, op,
                                  chunk_get_sizes(op.data, op.data + op.len, &chunk));
}

static int wal_stage_long(struct wal *wal, const struct record_header *header,
                          const uint8_t clock[8])
{
    int with_clock = (header->flags & RECORD_CLOCK) != 0;
    int rc = wal_reserve_parts(wal, 2 * wal->borrowed.count + 2);

    if (rc == 0)
        rc = wal_stage_due_begin(wal, header->first_seq);
    if (rc == 0)
        rc = log_writer_stage(wal->log, *header, wal->parts,
                              wal_group_parts(wal, clock, with_clock));
    return rc;
}

int wal_group_write(struct wal *wal, uint64_t first_seq, uint32_t count, uint64_t now_ms,
                    struct varve_err *err)
{
    uint8_t clock[8];
    int with_clock = now_ms >= wal->clock_ms + CLOCK_EVERY_MS;
    struct record_header header = {
        .type = RECORD_OPS,
        .flags = with_clock ? RECORD_CLOCK : 0,
        .first_seq = first_seq,
        .op_count = count,
    };
    int rc = wal_rotate(wal, first_seq, err);

    if (rc != 0)
        goto out;
    put_u64(clock, now_ms);
    wal_sync_know_durable(&wal->sync, &wal->durable, &wal->durable_changes);
    header.promised = wal->durable.place;
    if (MUTANT("promise-written"))
        header.promised = wal_end(wal);
    int is_short = wal_is_short(wal, &header);
    rc = is_short ? wal_stage_short(wal, first_seq) : wal_stage_long(wal, &header, clock);
    if (rc != 0) {
        err_set(err, rc, "no memory for a log record");
        log_writer_unstage(wal->log);
        goto out;
    }
    rc = wal_flush(wal, err);
    if (rc != 0)
        goto out;
    wal->records++;
    wal->data_end = wal_end(wal);
    wal->promised = header.promised;
    if (!is_short)
        wal->long_end = wal->log->offset;
    if (with_clock)
        wal->clock_ms = now_ms;
out:
    wal_group_cut(wal, (struct wal_group_mark){0});
    buf_shrink(&wal->ops, GROUP_KEEP_BYTES);
    return rc;
}

int wal_promise(struct wal *wal, uint64_t next_seq, uint64_t now_ms, struct varve_err *err)
{
    struct log_place durable = wal_sync_durable(&wal->sync).place;
    uint64_t now_us = wal->env->ops->now_mono_us(wal->env);
    uint8_t clock[8];
    struct record_header header = {
        .type = RECORD_PROMISE,
        .flags = RECORD_CLOCK,
        .first_seq = next_seq,
        .promised = durable,
    };

    if (now_us - wal->last_write_us < IDLE_US || log_place_before(durable, wal->data_end) ||
        !log_place_before(wal->promised, wal->data_end))
        return 0;
    put_u64(clock, now_ms);
    int rc = wal_stage_due_begin(wal, next_seq);
    if (rc == 0)
        rc = log_writer_stage_small(wal->log, header, clock, sizeof(clock));
    if (rc != 0) { /* it is only a promise: the next tick tries again */
        log_writer_unstage(wal->log);
        return 0;
    }
    rc = wal_flush(wal, err);
    if (rc != 0)
        return rc;
    wal->promised = durable;
    wal->clock_ms = now_ms;
    wal_sync_written(&wal->sync, (struct wal_mark){.seq = next_seq - 1, .place = wal_end(wal)},
                     now_us);
    return 0;
}

int wal_seal(struct wal *wal, uint64_t next_seq, struct varve_err *err)
{
    struct record_header seal = {
        .type = RECORD_SEAL,
        .first_seq = next_seq,
        .promised = wal_sync_durable(&wal->sync).place,
    };
    int rc = wal_stage_due_begin(wal, next_seq);

    wal->go_ahead = 0;
    if (rc == 0)
        rc = log_writer_stage_small(wal->log, seal, NULL, 0);
    if (rc != 0) {
        log_writer_unstage(wal->log);
        return err_set(err, rc, "no memory for a seal");
    }
    rc = wal_flush(wal, err);
    if (rc == 0)
        log_writer_trim(wal->log);
    return rc != 0 || MUTANT("skip-seal-sync") ? rc : log_writer_sync(wal->log, err);
}

void wal_deinit(struct wal *wal)
{
    wal_sync_deinit(&wal->sync);
    wal_pool_deinit(&wal->pool);
    log_writer_close(wal->log);
    buf_deinit(&wal->ops);
    borrowed_list_deinit(&wal->borrowed);
    mem_free(wal->parts);
}
