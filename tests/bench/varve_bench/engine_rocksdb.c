/* engine_rocksdb.c - RocksDB through its C API: with its own defaults in what is not said below, and
 * tuned for this work. */
#include <rocksdb/c.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine.h"

#define BLOOM_BITS 10
#define HASH_RATIO 0.75
#define MEMTABLE_BLOOM_RATIO 0.1 /* of the memtable's size */

struct database {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *write;
    rocksdb_writeoptions_t *write_synced;
    rocksdb_writebatch_t *batch;
    int synced;
};

struct reader {
    rocksdb_t *db;
    rocksdb_readoptions_t *options;
    rocksdb_pinnableslice_t *pin;
    rocksdb_iterator_t *iter;
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
        "RocksDB " BENCH_ROCKSDB_VERSION ": memtable %llu MiB, Bloom 10 bits, snappy, LRU cache "
        "%llu MiB, else its defaults; no sync of the WAL; rocksdb_get_pinned(); an iterator a seek",
        (unsigned long long)(config->memtable_bytes >> 20),
        (unsigned long long)(config->cache_bytes >> 20));
}

static void describe_tuned(const struct bench_config *config, char *text, size_t cap)
{
    (void)config;
    snprintf(
        text, cap,
        "the same, and: hash index in data blocks, Bloom filter of whole keys in the memtable, no "
        "concurrent memtable writes, dynamic level bytes");
}

static rocksdb_options_t *make_options(const struct bench_config *config, int tuned)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(config->cache_bytes);

    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_compression(options, rocksdb_snappy_compression);
    rocksdb_options_set_write_buffer_size(options, config->memtable_bytes);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    if (tuned) {
        rocksdb_block_based_options_set_data_block_index_type(
            table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
        rocksdb_block_based_options_set_data_block_hash_ratio(table, HASH_RATIO);
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, MEMTABLE_BLOOM_RATIO);
        rocksdb_options_set_memtable_whole_key_filtering(options, 1);
        rocksdb_options_set_allow_concurrent_memtable_write(options, 0);
        rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    }
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache); /* the options keep it */
    return options;
}

static struct database *open_as(const struct bench_config *config, int tuned)
{
    struct database *database = mem_alloc_zero(sizeof *database);
    char *error = NULL;

    if (database == NULL)
        bench_fail("no memory");
    database->options = make_options(config, tuned);
    database->write = rocksdb_writeoptions_create();
    database->write_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(database->write_synced, 1);
    database->batch = rocksdb_writebatch_create();
    if (config->durability == DURABILITY_ALWAYS)
        rocksdb_writeoptions_set_sync(database->write, 1);
    database->db = rocksdb_open(database->options, config->dir, &error);
    check(error, "open");
    return database;
}

static void *open_db(const struct bench_config *config)
{
    return open_as(config, 0);
}

static void *open_tuned(const struct bench_config *config)
{
    return open_as(config, 1);
}

static void close_db(void *db)
{
    struct database *database = db;

    rocksdb_close(database->db);
    rocksdb_writebatch_destroy(database->batch);
    rocksdb_writeoptions_destroy(database->write);
    rocksdb_writeoptions_destroy(database->write_synced);
    rocksdb_options_destroy(database->options);
    mem_free(database);
}

static void set_sync(void *db, int on)
{
    ((struct database *)db)->synced = on;
}

static const rocksdb_writeoptions_t *write_options(const struct database *database)
{
    return database->synced ? database->write_synced : database->write;
}

static void put(void *db, struct varve_slice key, struct varve_slice value)
{
    struct database *database = db;
    char *error = NULL;

    rocksdb_put(database->db, write_options(database), (const char *)key.data, key.len,
                (const char *)value.data, value.len, &error);
    check(error, "put");
}

static void erase(void *db, struct varve_slice key)
{
    struct database *database = db;
    char *error = NULL;

    rocksdb_delete(database->db, write_options(database), (const char *)key.data, key.len, &error);
    check(error, "delete");
}

static void batch_put(void *db, struct varve_slice key, struct varve_slice value)
{
    rocksdb_writebatch_put(((struct database *)db)->batch, (const char *)key.data, key.len,
                           (const char *)value.data, value.len);
}

static void batch_write(void *db)
{
    struct database *database = db;
    char *error = NULL;

    rocksdb_write(database->db, write_options(database), database->batch, &error);
    check(error, "write");
    rocksdb_writebatch_clear(database->batch);
}

static void *reader_open(void *db)
{
    struct reader *reader = mem_alloc_zero(sizeof *reader);

    if (reader == NULL)
        bench_fail("no memory");
    reader->db = ((struct database *)db)->db;
    reader->options = rocksdb_readoptions_create();
    return reader;
}

static void reader_close(void *handle)
{
    struct reader *reader = handle;

    rocksdb_readoptions_destroy(reader->options);
    mem_free(reader);
}

static int get(void *handle, struct varve_slice key, struct varve_slice *value)
{
    struct reader *reader = handle;
    char *error = NULL;
    size_t len = 0;

    reader->pin = rocksdb_get_pinned(reader->db, reader->options, (const char *)key.data, key.len,
                                     &error);
    check(error, "get");
    if (reader->pin == NULL)
        return 0;
    const char *data = rocksdb_pinnableslice_value(reader->pin, &len);
    *value = varve_slice(data, len);
    return 1;
}

static void release(void *handle)
{
    struct reader *reader = handle;

    rocksdb_pinnableslice_destroy(reader->pin);
    reader->pin = NULL;
}

static void seek(void *handle, const struct varve_slice *key)
{
    struct reader *reader = handle;

    reader->iter = rocksdb_create_iterator(reader->db, reader->options);
    if (key != NULL)
        rocksdb_iter_seek(reader->iter, (const char *)key->data, key->len);
    else
        rocksdb_iter_seek_to_first(reader->iter);
}

static int entry(void *handle, struct varve_slice *key, struct varve_slice *value)
{
    struct reader *reader = handle;
    char *error = NULL;
    size_t len = 0;

    if (!rocksdb_iter_valid(reader->iter)) {
        rocksdb_iter_get_error(reader->iter, &error);
        check(error, "scan");
        return 0;
    }
    const char *data = rocksdb_iter_key(reader->iter, &len);
    *key = varve_slice(data, len);
    data = rocksdb_iter_value(reader->iter, &len);
    *value = varve_slice(data, len);
    return 1;
}

static void next(void *handle)
{
    struct reader *reader = handle;

    rocksdb_iter_next(reader->iter);
}

static void seek_end(void *handle)
{
    struct reader *reader = handle;

    rocksdb_iter_destroy(reader->iter);
    reader->iter = NULL;
}

static void sync_all(void *db)
{
    char *error = NULL;

    rocksdb_flush_wal(((struct database *)db)->db, 1, &error);
    check(error, "sync");
}

static void compact(void *db)
{
    rocksdb_compact_range(((struct database *)db)->db, NULL, 0, NULL, 0);
}

static int idle(void *db)
{
    static const char *const busy[] = {
        "rocksdb.num-running-flushes", "rocksdb.num-running-compactions",
        "rocksdb.mem-table-flush-pending", "rocksdb.compaction-pending"};

    for (size_t i = 0; i < sizeof busy / sizeof *busy; i++) {
        uint64_t number = 0;
        if (rocksdb_property_int(((struct database *)db)->db, busy[i], &number) != 0)
            bench_fail("there is no property %s", busy[i]);
        if (number != 0)
            return 0;
    }
    return 1;
}

#define ROCKSDB_ENGINE(its_name, its_describe, its_open)                                           \
    {                                                                                              \
        .name = its_name, .describe = its_describe, .open = its_open, .close = close_db,           \
        .set_sync = set_sync, .put = put, .erase = erase, .batch_put = batch_put,                  \
        .batch_write = batch_write, .reader_open = reader_open, .reader_close = reader_close,      \
        .get = get, .release = release, .seek = seek, .entry = entry, .next = next,                \
        .seek_end = seek_end, .sync = sync_all, .compact = compact, .idle = idle,                  \
    }

const struct engine engine_rocksdb = ROCKSDB_ENGINE("rocksdb", describe, open_db);
const struct engine engine_rocksdb_tuned = ROCKSDB_ENGINE("rocksdb-tuned", describe_tuned,
                                                          open_tuned);
