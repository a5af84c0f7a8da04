/* engine_leveldb.c - LevelDB through its C API. */
#include <leveldb/c.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine.h"

#define BLOOM_BITS 10

struct database {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *write;
    leveldb_writeoptions_t *write_synced;
    leveldb_writebatch_t *batch;
    int synced;
};

struct reader {
    leveldb_t *db;
    leveldb_readoptions_t *options;
    char *value;
    leveldb_iterator_t *iter;
};

static void check(const char *error, const char *what)
{
    if (error != NULL)
        bench_fail("%s: %s", what, error);
}

static void describe(const struct bench_config *config, char *text, size_t cap)
{
    snprintf(
        text, cap,
        "LevelDB %d.%d: memtable %llu MiB, Bloom 10 bits, snappy, LRU cache %llu MiB, else its "
        "defaults; no sync of the log; leveldb_get(), which copies; an iterator a seek",
        leveldb_major_version(), leveldb_minor_version(),
        (unsigned long long)(config->memtable_bytes >> 20),
        (unsigned long long)(config->cache_bytes >> 20));
}

static void *open_db(const struct bench_config *config)
{
    struct database *database = mem_alloc_zero(sizeof *database);
    char *error = NULL;

    if (database == NULL)
        bench_fail("no memory");
    database->options = leveldb_options_create();
    database->cache = leveldb_cache_create_lru(config->cache_bytes);
    database->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    leveldb_options_set_create_if_missing(database->options, 1);
    leveldb_options_set_cache(database->options, database->cache);
    leveldb_options_set_filter_policy(database->options, database->filter);
    leveldb_options_set_write_buffer_size(database->options, config->memtable_bytes);
    leveldb_options_set_compression(database->options, leveldb_snappy_compression);
    database->write = leveldb_writeoptions_create();
    database->write_synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(database->write_synced, 1);
    if (config->durability == DURABILITY_ALWAYS)
        leveldb_writeoptions_set_sync(database->write, 1);
    database->batch = leveldb_writebatch_create();
    database->db = leveldb_open(database->options, config->dir, &error);
    check(error, "open");
    return database;
}

static void close_db(void *db)
{
    struct database *database = db;

    leveldb_close(database->db);
    leveldb_writebatch_destroy(database->batch);
    leveldb_writeoptions_destroy(database->write);
    leveldb_writeoptions_destroy(database->write_synced);
    leveldb_options_destroy(database->options);
    leveldb_filterpolicy_destroy(database->filter);
    leveldb_cache_destroy(database->cache);
    mem_free(database);
}

static void set_sync(void *db, int on)
{
    ((struct database *)db)->synced = on;
}

static const leveldb_writeoptions_t *write_options(const struct database *database)
{
    return database->synced ? database->write_synced : database->write;
}

static void put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;
    char *error = NULL;

    leveldb_put(database->db, write_options(database), (const char *)key.data, key.len,
                (const char *)value.data, value.len, &error);
    check(error, "put");
}

static void erase(void *db, struct varve_slice key)
{
    struct database *database = db;
    char *error = NULL;

    leveldb_delete(database->db, write_options(database), (const char *)key.data, key.len, &error);
    check(error, "delete");
}

static void batch_put(void *db, struct varve_slice key, struct varve_slice value)
{
    leveldb_writebatch_put(((struct database *)db)->batch, (const char *)key.data, key.len,
                           (const char *)value.data, value.len);
}

static void batch_write(void *db)
{
    struct database *database = db;
    char *error = NULL;

    leveldb_write(database->db, write_options(database), database->batch, &error);
    check(error, "write");
    leveldb_writebatch_clear(database->batch);
}

static void *reader_open(void *db)
{
    struct reader *reader = mem_alloc_zero(sizeof *reader);

    if (reader == NULL)
        bench_fail("no memory");
    reader->db = ((struct database *)db)->db;
    reader->options = leveldb_readoptions_create();
    return reader;
}

static void reader_close(void *handle)
{
    struct reader *reader = handle;

    leveldb_readoptions_destroy(reader->options);
    mem_free(reader);
}

static int get(void *handle, struct varve_slice key, struct varve_slice *value)
{
    struct reader *reader = handle;
    char *error = NULL;
    size_t len = 0;

    reader->value = leveldb_get(reader->db, reader->options, (const char *)key.data, key.len, &len,
                                &error);
    check(error, "get");
    *value = varve_slice(reader->value, len);
    return reader->value != NULL;
}

static void release(void *handle)
{
    struct reader *reader = handle;

    leveldb_free(reader->value);
    reader->value = NULL;
}

static void seek(void *handle, const struct varve_slice *key)
{
    struct reader *reader = handle;

    reader->iter = leveldb_create_iterator(reader->db, reader->options);
    if (key != NULL)
        leveldb_iter_seek(reader->iter, (const char *)key->data, key->len);
    else
        leveldb_iter_seek_to_first(reader->iter);
}

static int entry(void *handle, struct varve_slice *key, struct varve_slice *value)
{
    struct reader *reader = handle;
    char *error = NULL;
    size_t len = 0;

    if (!leveldb_iter_valid(reader->iter)) {
        leveldb_iter_get_error(reader->iter, &error);
        check(error, "scan");
        return 0;
    }
    const char *data = leveldb_iter_key(reader->iter, &len);
    *key = varve_slice(data, len);
    data = leveldb_iter_value(reader->iter, &len);
    *value = varve_slice(data, len);
    return 1;
}

static void next(void *handle)
{
    struct reader *reader = handle;

    leveldb_iter_next(reader->iter);
}

static void seek_end(void *handle)
{
    struct reader *reader = handle;

    leveldb_iter_destroy(reader->iter);
    reader->iter = NULL;
}

/* It has no sync of its own: a synced write of nothing brings what was written before. */
static void sync_all(void *db)
{
    struct database *database = db;
    leveldb_writebatch_t *nothing = leveldb_writebatch_create();
    char *error = NULL;

    leveldb_write(database->db, database->write_synced, nothing, &error);
    check(error, "sync");
    leveldb_writebatch_destroy(nothing);
}

static void compact(void *db)
{
    leveldb_compact_range(((struct database *)db)->db, NULL, 0, NULL, 0);
}

const struct engine engine_leveldb = {
    .name = "leveldb",
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
    .get = get,
    .release = release,
    .seek = seek,
    .entry = entry,
    .next = next,
    .seek_end = seek_end,
    .sync = sync_all,
    .compact = compact,
};
