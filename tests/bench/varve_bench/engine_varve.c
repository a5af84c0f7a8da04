/* engine_varve.c - varve as a program that embeds it uses it: public headers and nothing else. */
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "engine.h"
#include "ticks.h"
#include "varve/db.h"
#include "varve/executor.h"
#include "varve/iter.h"

struct database {
    struct varve_db *db;
    struct varve_executor *executor;
    struct varve_batch *single;
    struct varve_batch *batch;
    enum varve_durability durability;
    int sync;
    uint64_t rest_ns;
    int wrote;        /* since idle() was asked last */
    uint64_t busy_ns; /* when idle() saw a write, a flush or a merge last */
};

struct reader {
    struct varve_db *db;
    struct varve_pin pin;
    struct varve_iter *iter;
};

static void describe(const struct bench_config *config, char *text, size_t cap)
{
    snprintf(text, cap,
             "varve %s: memtable and WAL file %llu MiB, Bloom 10 bits, 16 above the last level, "
             "snappy, cache %llu MiB, else its "
             "defaults; varve_write() a put; varve_enter() around 64 gets; an iterator a seek",
             varve_version(), (unsigned long long)(config->memtable_bytes >> 20),
             (unsigned long long)(config->cache_bytes >> 20));
}

static void check(int rc, const char *what, const struct varve_err *err)
{
    if (rc < 0)
        bench_fail("%s: %s", what, err->text);
}

static void *open_db(const struct bench_config *config)
{
    static const enum varve_durability durability[] = {
        [DURABILITY_NO] = VARVE_NO,
        [DURABILITY_EVERYSEC] = VARVE_EVERYSEC,
        [DURABILITY_ALWAYS] = VARVE_ALWAYS,
    };
    struct database *database = mem_alloc_zero(sizeof *database);
    struct varve_err err = {0};

    if (database == NULL)
        bench_fail("no memory");
    check(varve_executor_threads_create(NULL, &database->executor, &err), "executor", &err);
    database->durability = durability[config->durability];
    database->sync = config->durability == DURABILITY_ALWAYS;
    database->rest_ns = config->rest_s * (uint64_t)1000000000;
    struct varve_options options = {
        .executor = database->executor,
        .durability = database->durability,
        .memtable_size_bytes = config->memtable_bytes,
        .wal_size_bytes = config->memtable_bytes,
        .block_cache_size_bytes = config->cache_bytes,
    };
    check(varve_open(config->dir, &options, &database->db, &err), "open", &err);
    database->single = varve_batch_create();
    database->batch = varve_batch_create();
    if (database->single == NULL || database->batch == NULL)
        bench_fail("no memory");
    return database;
}

static void close_db(void *db)
{
    struct database *database = db;
    struct varve_err err = {0};

    varve_batch_destroy(database->single);
    varve_batch_destroy(database->batch);
    check(varve_close(database->db, &err), "close", &err);
    varve_executor_threads_destroy(database->executor);
    mem_free(database);
}

static void set_sync(void *db, int on)
{
    struct database *database = db;

    database->sync = on || database->durability == VARVE_ALWAYS;
    varve_set_durability(database->db, on ? VARVE_ALWAYS : database->durability);
}

static void write_batch(struct database *database, struct varve_batch *batch)
{
    const struct timespec nap = {.tv_nsec = 100000};
    struct varve_err err = {0};
    uint64_t seq = 0;
    int rc;

    while ((rc = (database->sync ? varve_write_durable : varve_write)(database->db, batch, &seq,
                                                                      &err)) == VARVE_EFULL) {
        varve_tick(database->db);
        nanosleep(&nap, NULL);
    }
    check(rc, "write", &err);
    /* The few of fillsync leave nothing to merge. */
    database->wrote |= !database->sync || database->durability == VARVE_ALWAYS;
    varve_batch_clear(batch);
}

static void put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;

    if (varve_batch_put(database->single, &key, 1, &value, 1, 0) != 0)
        bench_fail("no memory for a put");
    write_batch(database, database->single);
}

static void erase(void *db, struct varve_slice key)
{
    struct database *database = db;

    if (varve_batch_delete(database->single, &key, 1) != 0)
        bench_fail("no memory for a delete");
    write_batch(database, database->single);
}

static void batch_put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;

    if (varve_batch_put(database->batch, &key, 1, &value, 1, 0) != 0)
        bench_fail("no memory for a batch");
}

static void batch_write(void *db)
{
    struct database *database = db;

    write_batch(database, database->batch);
}

static void *reader_open(void *db)
{
    struct reader *reader = mem_alloc_zero(sizeof *reader);

    if (reader == NULL)
        bench_fail("no memory");
    reader->db = ((struct database *)db)->db;
    return reader;
}

static void reader_close(void *reader)
{
    mem_free(reader);
}

static void enter(void *reader)
{
    (void)reader;
    varve_enter();
}

static void leave(void *reader)
{
    (void)reader;
    varve_leave();
}

static int get(void *handle, struct varve_slice key, struct varve_slice *value)
{
    struct reader *reader = handle;
    struct varve_err err;
    int rc = varve_get(reader->db, NULL, key, &reader->pin, &err);

    check(rc, "get", &err);
    *value = reader->pin.value;
    return rc == 0;
}

static void release(void *handle)
{
    struct reader *reader = handle;

    varve_pin_release(&reader->pin);
}

static void seek(void *handle, const struct varve_slice *key)
{
    struct reader *reader = handle;
    struct varve_err err = {0};

    reader->iter = varve_iter_create(reader->db, NULL, NULL, NULL, &err);
    if (reader->iter == NULL)
        bench_fail("iterator: %s", err.text);
    if (key != NULL)
        varve_iter_seek(reader->iter, *key);
    else
        varve_iter_first(reader->iter);
}

static int entry(void *handle, struct varve_slice *key, struct varve_slice *value)
{
    struct reader *reader = handle;
    struct varve_err err = {0};

    if (!varve_iter_valid(reader->iter)) {
        check(varve_iter_status(reader->iter, &err), "scan", &err);
        return 0;
    }
    *key = varve_iter_key(reader->iter);
    *value = varve_iter_value(reader->iter);
    return 1;
}

static void next(void *handle)
{
    struct reader *reader = handle;

    varve_iter_next(reader->iter);
}

static void seek_end(void *handle)
{
    struct reader *reader = handle;

    varve_iter_destroy(reader->iter);
    reader->iter = NULL;
}

static void tick(void *db)
{
    varve_tick(((struct database *)db)->db);
}

static void sync_all(void *db)
{
    (void)db; /* VARVE_EVERYSEC does it by itself, at its ticks */
}

static void compact(void *db)
{
    struct varve_err err = {0};

    check(varve_compact(((struct database *)db)->db, &err), "compact", &err);
}

static int idle(void *db)
{
    struct database *database = db;
    struct varve_stats stats;
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

    varve_stats(database->db, &stats);
    int busy = stats.flushes_waiting != 0 || stats.compactions_running != 0;
    if (busy || database->wrote)
        database->busy_ns = now_ns;
    database->wrote = 0;
    return !busy && now_ns - database->busy_ns >= database->rest_ns;
}

const struct engine engine_varve = {
    .name = "varve",
    .describe = describe,
    .open = open_db,
    .close = close_db,
    .set_sync = set_sync,
    .put = put,
    .erase = erase,
    .batch_put = batch_put,
    .batch_write = batch_write,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .enter = enter,
    .leave = leave,
    .get = get,
    .release = release,
    .seek = seek,
    .entry = entry,
    .next = next,
    .seek_end = seek_end,
    .tick = tick,
    .sync = sync_all,
    .compact = compact,
    .idle = idle,
};
