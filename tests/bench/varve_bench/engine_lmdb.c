/* engine_lmdb.c - LMDB. Its file is data.mdb; a compaction is its own copy that leaves free pages out,
 * which then takes the place of the file. */
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine.h"

#define FILE_NAME "data.mdb"
#define COPY_NAME "copy.mdb"
#define MAP_MIN_BYTES ((uint64_t)1 << 30)
#define MAP_MAX_BYTES ((uint64_t)1 << 42)
#define MAP_FACTOR                                                                                 \
    8 /* of the data: half-full pages, free pages, copies of pages in a transaction */
#define READERS_MAX (THREADS_MAX + 2)

struct database {
    const struct bench_config *config;
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *batch;
};

struct reader {
    struct database *database;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    int there;
};

static void check(int rc, const char *what)
{
    if (rc != 0)
        bench_fail("%s: %s", what, mdb_strerror(rc));
}

static uint64_t map_bytes(const struct bench_config *config)
{
    uint64_t entry = config->key_bytes + config->value_bytes;
    uint64_t bytes = config->keys < MAP_MAX_BYTES / MAP_FACTOR / entry
                         ? config->keys * entry * MAP_FACTOR
                         : MAP_MAX_BYTES;

    return bytes < MAP_MIN_BYTES ? MAP_MIN_BYTES : bytes & ~(uint64_t)0xffff;
}

static void describe(const struct bench_config *config, char *text, size_t cap)
{
    snprintf(
        text, cap,
        "LMDB %d.%d.%d: no writemap, MDB_NOSYNC but in fillsync, MDB_NOTLS, map of at most %llu "
        "MiB; a transaction a put; a read transaction renewed every 64 gets; a cursor renewed a "
        "seek",
        MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH,
        (unsigned long long)(map_bytes(config) >> 20));
}

static void open_env(struct database *database)
{
    const struct bench_config *config = database->config;
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
    char path[PATH_BYTES];
    MDB_txn *txn;

    if (config->durability != DURABILITY_ALWAYS)
        flags |= MDB_NOSYNC;
    engine_path(config, FILE_NAME, path);
    check(mdb_env_create(&database->env), "create");
    check(mdb_env_set_mapsize(database->env, map_bytes(config)), "map size");
    check(mdb_env_set_maxreaders(database->env, READERS_MAX), "readers");
    check(mdb_env_open(database->env, path, flags, 0600), "open");
    check(mdb_txn_begin(database->env, NULL, 0, &txn), "begin");
    check(mdb_dbi_open(txn, NULL, 0, &database->dbi), "open the tree");
    check(mdb_txn_commit(txn), "commit");
}

static void *open_db(const struct bench_config *config)
{
    struct database *database = mem_alloc_zero(sizeof *database);

    if (database == NULL)
        bench_fail("no memory");
    database->config = config;
    open_env(database);
    return database;
}

static void close_db(void *db)
{
    struct database *database = db;

    mdb_env_close(database->env);
    mem_free(database);
}

static void set_sync(void *db, int on)
{
    struct database *database = db;

    if (database->config->durability != DURABILITY_ALWAYS)
        check(mdb_env_set_flags(database->env, MDB_NOSYNC, !on), "set flags");
}

static MDB_val val_of(struct varve_slice slice)
{
    MDB_val val = {.mv_size = slice.len};

    memcpy(&val.mv_data, &slice.data, sizeof val.mv_data); /* it takes no const */
    return val;
}

static void put_in(struct database *database, MDB_txn *txn, struct varve_slice key,
                   struct varve_slice value)
{
    MDB_val key_val = val_of(key);
    MDB_val value_val = val_of(value);

    check(mdb_put(txn, database->dbi, &key_val, &value_val, 0), "put");
}

static void put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;
    MDB_txn *txn;

    check(mdb_txn_begin(database->env, NULL, 0, &txn), "begin");
    put_in(database, txn, key, value);
    check(mdb_txn_commit(txn), "commit");
}

static void erase(void *db, struct varve_slice key)
{
    struct database *database = db;
    MDB_val key_val = val_of(key);
    MDB_txn *txn;

    check(mdb_txn_begin(database->env, NULL, 0, &txn), "begin");
    check(mdb_del(txn, database->dbi, &key_val, NULL), "delete");
    check(mdb_txn_commit(txn), "commit");
}

static void batch_put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;

    if (database->batch == NULL)
        check(mdb_txn_begin(database->env, NULL, 0, &database->batch), "begin");
    put_in(database, database->batch, key, value);
}

static void batch_write(void *db)
{
    struct database *database = db;

    check(mdb_txn_commit(database->batch), "commit");
    database->batch = NULL;
}

static void *reader_open(void *db)
{
    struct reader *reader = mem_alloc_zero(sizeof *reader);

    if (reader == NULL)
        bench_fail("no memory");
    reader->database = db;
    check(mdb_txn_begin(reader->database->env, NULL, MDB_RDONLY, &reader->txn), "begin");
    check(mdb_cursor_open(reader->txn, reader->database->dbi, &reader->cursor), "cursor");
    mdb_txn_reset(reader->txn);
    return reader;
}

static void reader_close(void *handle)
{
    struct reader *reader = handle;

    mdb_cursor_close(reader->cursor);
    mdb_txn_abort(reader->txn);
    mem_free(reader);
}

static void enter(void *handle)
{
    check(mdb_txn_renew(((struct reader *)handle)->txn), "renew");
}

static void leave(void *handle)
{
    mdb_txn_reset(((struct reader *)handle)->txn);
}

static int get(void *handle, struct varve_slice key, struct varve_slice *value)
{
    struct reader *reader = handle;
    MDB_val key_val = val_of(key);
    MDB_val value_val = {0};
    int rc = mdb_get(reader->txn, reader->database->dbi, &key_val, &value_val);

    if (rc == MDB_NOTFOUND)
        return 0;
    check(rc, "get");
    *value = varve_slice(value_val.mv_data, value_val.mv_size);
    return 1;
}

static void move(struct reader *reader, MDB_cursor_op op)
{
    int rc = mdb_cursor_get(reader->cursor, &reader->key, &reader->value, op);

    reader->there = rc == 0;
    if (rc != MDB_NOTFOUND)
        check(rc, "scan");
}

static void seek(void *handle, const struct varve_slice *key)
{
    struct reader *reader = handle;

    check(mdb_cursor_renew(reader->txn, reader->cursor), "cursor");
    if (key != NULL)
        reader->key = val_of(*key);
    move(reader, key != NULL ? MDB_SET_RANGE : MDB_FIRST);
}

static int entry(void *handle, struct varve_slice *key, struct varve_slice *value)
{
    struct reader *reader = handle;

    if (!reader->there)
        return 0;
    *key = varve_slice(reader->key.mv_data, reader->key.mv_size);
    *value = varve_slice(reader->value.mv_data, reader->value.mv_size);
    return 1;
}

static void next(void *handle)
{
    move(handle, MDB_NEXT);
}

static void seek_end(void *handle)
{
    (void)handle;
}

static void sync_all(void *db)
{
    check(mdb_env_sync(((struct database *)db)->env, 1), "sync");
}

static void compact(void *db)
{
    struct database *database = db;
    char path[PATH_BYTES];
    char copy[PATH_BYTES];

    engine_path(database->config, FILE_NAME, path);
    engine_path(database->config, COPY_NAME, copy);
    check(mdb_env_copy2(database->env, copy, MDB_CP_COMPACT), "copy");
    mdb_env_close(database->env);
    if (rename(copy, path) != 0)
        bench_fail("%s: cannot be renamed", copy);
    open_env(database);
}

const struct engine engine_lmdb = {
    .name = "lmdb",
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
    .seek = seek,
    .entry = entry,
    .next = next,
    .seek_end = seek_end,
    .sync = sync_all,
    .compact = compact,
};
