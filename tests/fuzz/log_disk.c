#include "log_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "segment/chunk.h"
#include "lsm/manifest.h"
#include "lsm/record.h"
#include "lsm/wal.h"
#include "step_executor.h"
#include "varve/db.h"
#include "varve/iter.h"

#define MEMORY_BASE_BYTES ((size_t)4 * 1024 * 1024)
#define MEMORY_FACTOR 300 /* a memtable entry of an empty key and value */

struct dir_id log_disk_id(void)
{
    struct dir_id id;

    for (int i = 0; i < DIR_ID_BYTES; i++)
        id.bytes[i] = (uint8_t)i;
    return id;
}

struct sim_env *log_disk_create(void)
{
    struct sim_env *sim = sim_env_create(1);
    struct varve_env *env = sim_as_env(sim);
    struct dir_id id = log_disk_id();
    struct manifest *manifest = NULL;
    struct log_writer *log = NULL;
    struct manifest_edit edit = {.change = MANIFEST_ADD_WAL, .file_no = LOG_DISK_WAL_NO};

    CHECK(env->ops->make_dir(env, "/db", NULL) == 0);
    CHECK(manifest_create(env, "/db", &id, LOG_DISK_MANIFEST_NO, &manifest, NULL) == 0);
    CHECK(manifest_renew(manifest, NULL, 0, NULL) == 0);
    manifest_reserve_file_no(manifest, LOG_DISK_WAL_NO + 1);
    CHECK(manifest_apply(manifest, &edit, 1, NULL) == 0);
    CHECK(log_writer_create(env, "/db", "/db/000002.wal", WAL_MAGIC, &id, LOG_DISK_WAL_NO, 0, NULL,
                            &log, NULL) == 0);
    /* It asks for no more than a manifest's header, so that short inputs get past it. */
    struct log_place begun = {.file_no = LOG_DISK_MANIFEST_NO, .offset = FILE_HEADER_BYTES};
    CHECK(wal_stage_begin(log, 1, begun, (struct log_place){0}) == 0);
    CHECK(log_writer_flush(log, NULL) == 0);
    log_writer_close(log);
    manifest_close(manifest);
    return sim;
}

void log_disk_put(struct sim_env *sim, const char *path, const uint8_t *data, size_t len)
{
    struct varve_env *env = sim_as_env(sim);
    struct varve_slice part = varve_slice(data, len);
    struct varve_file *file = NULL;

    CHECK(env->ops->open(env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, NULL) == 0);
    CHECK(env->ops->truncate(env, file, 0, NULL) == 0);
    CHECK(len == 0 || env->ops->write_at(env, file, &part, 1, 0, NULL) == 0);
    env->ops->close(env, file);
}

uint8_t *log_disk_get(struct sim_env *sim, const char *path, size_t *len)
{
    struct varve_env *env = sim_as_env(sim);
    struct varve_file *file = NULL;
    uint64_t size = 0;

    CHECK(env->ops->open(env, path, VARVE_OPEN_READ, &file, NULL) == 0);
    CHECK(env->ops->size(env, file, &size, NULL) == 0);
    uint8_t *data = malloc(size + 1);
    CHECK(data != NULL && env->ops->read_at(env, file, data, size, 0, len, NULL) == 0);
    CHECK(*len == size);
    env->ops->close(env, file);
    return data;
}

static void repair_chunks(uint8_t *at, uint8_t *end, unsigned flags)
{
    struct chunk chunk;

    if ((flags & RECORD_CLOCK) && end - at >= 8)
        at += 8;
    while (at < end) {
        size_t head = chunk_get_head(at, end, &chunk);
        if (head == 0 || chunk.value.len > (size_t)(end - at) - head)
            return;
        chunk.value.data = at + head;
        put_u32(at + 1, chunk_crc(&chunk));
        at += head + chunk.value.len;
    }
}

/* Both return how long the record is, 0 if none can begin here; *next_seq is the one behind it then. */
static size_t repair_long(uint8_t *at, size_t len, uint32_t salt, unsigned repairs,
                          uint64_t *next_seq)
{
    uint8_t *payload = at + RECORD_HEADER_BYTES;

    if (len < RECORD_HEADER_BYTES)
        return 0;
    if (get_u64(at + 16) > len - RECORD_HEADER_BYTES && (repairs & LOG_DISK_REPAIR_LENGTHS))
        put_u64(at + 16, len - RECORD_HEADER_BYTES);
    uint64_t payload_len = get_u64(at + 16);
    if (payload_len > len - RECORD_HEADER_BYTES)
        return 0;
    if (repairs & LOG_DISK_REPAIR_CHUNKS)
        repair_chunks(payload, payload + payload_len, at[5]);
    put_u32(at + 8, crc32c(salt, payload, (size_t)payload_len));
    put_u32(at, crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4));
    int counts = at[RECORD_TYPE_AT] == (RECORD_LONG_MARK | RECORD_OPS);
    *next_seq = get_u64(at + 24) + (counts ? get_u32(at + 12) : 0);
    return RECORD_HEADER_BYTES + (size_t)payload_len;
}

static size_t repair_short(uint8_t *at, size_t len, uint32_t salt, unsigned repairs,
                           uint64_t *next_seq)
{
    struct chunk chunk;
    uint8_t *op = at + RECORD_SHORT_CRC_BYTES;
    size_t head_len = chunk_get_sizes(op, at + len, &chunk);
    size_t op_len = head_len + chunk.key.len + chunk.value.len;

    if (head_len == 0 || op_len > len - RECORD_SHORT_CRC_BYTES)
        return 0;
    if (repairs & LOG_DISK_REPAIR_CHUNKS)
        repair_chunks(op, op + op_len, 0);
    put_u32(at, record_short_crc(salt, *next_seq, varve_slice(op, head_len)));
    ++*next_seq;
    return RECORD_SHORT_CRC_BYTES + op_len;
}

void log_disk_repair(uint8_t *data, size_t len, const char magic[8], const struct dir_id *id,
                     uint64_t file_no, unsigned repairs)
{
    uint32_t salt = file_salt(id, file_no);
    size_t at = FILE_HEADER_BYTES;
    uint64_t next_seq = 0;
    size_t took = 1;

    if (len >= FILE_HEADER_BYTES && (repairs & LOG_DISK_REPAIR_FILE))
        file_header_put(data, magic, id, file_no);
    while ((repairs & LOG_DISK_REPAIR_RECORDS) && took > 0 && at < len &&
           len - at > RECORD_TYPE_AT) {
        int is_long = (data[at + RECORD_TYPE_AT] & RECORD_LONG_MARK) != 0;
        took = is_long ? repair_long(data + at, len - at, salt, repairs, &next_seq)
                       : repair_short(data + at, len - at, salt, repairs, &next_seq);
        at += took;
    }
}

void log_disk_repair_current(uint8_t *data, size_t len)
{
    static const char mark[] = " crc32c=";
    char hex[9];

    if (len < sizeof(mark) - 1 + 9)
        return;
    uint8_t *at = data + len - 9 - (sizeof(mark) - 1);
    if (memcmp(at, mark, sizeof(mark) - 1) != 0)
        return;
    snprintf(hex, sizeof(hex), "%08x", crc32c(0, data, (size_t)(at - data)));
    memcpy(at + sizeof(mark) - 1, hex, 8);
}

/* A hash of all that is read; the clock stands still, so that nothing expires between two. */
static uint32_t walk(struct varve_db *db)
{
    struct varve_read read = {.now_ms = 1, .dead = 1};
    struct varve_iter *iter = varve_iter_create(db, &read, NULL, NULL, NULL);
    uint32_t hash = 0;
    uint64_t forward = 0;

    CHECK(iter != NULL);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter), forward++) {
        struct varve_slice key = varve_iter_key(iter);
        struct varve_slice value = varve_iter_value(iter);
        hash = crc32c(crc32c(hash, key.data, key.len), value.data, value.len);
    }
    CHECK(varve_iter_status(iter, NULL) == 0);
    for (varve_iter_last(iter); varve_iter_valid(iter); varve_iter_prev(iter))
        forward--;
    CHECK(forward == 0);
    varve_iter_destroy(iter);
    return hash;
}

/* Opens, walks, closes; 0 if it is refused. The second time, it was closed: it must not be. */
static int open_once(struct sim_env *sim, uint32_t *hash, uint64_t memory_max)
{
    struct step_executor *stepper = step_executor_create(1);
    struct varve_options options = {
        .env = sim_as_env(sim),
        .executor = step_as_executor(stepper),
        .block_cache_size_bytes = 1024 * 1024,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .wal_size_bytes = 4096,
    };
    struct varve_db *db = NULL;
    struct varve_err err = {0};
    int rc = varve_open("/db", &options, &db, &err);

    CHECK(mem_used_bytes() <= memory_max);
    if (rc == 0) {
        *hash = walk(db);
        CHECK(varve_close(db, &err) == 0);
    } else {
        CHECK(db == NULL && err.code < 0 && err.text[0] != '\0');
    }
    step_executor_destroy(stepper);
    return rc == 0;
}

void log_disk_open(struct sim_env *sim, size_t input_len)
{
    uint64_t used = mem_used_bytes();
    uint64_t memory_max = used + MEMORY_BASE_BYTES + MEMORY_FACTOR * input_len;
    uint64_t disk = sim_hash(sim);
    uint32_t first = 0;
    uint32_t second = 0;

    if (open_once(sim, &first, memory_max)) {
        CHECK(open_once(sim, &second, memory_max));
        CHECK(first == second);
    } else {
        struct varve_lock *lock = NULL;
        /* Refused: but for LOCK, which is made first, all is as it was. */
        struct varve_env *env = sim_as_env(sim);
        CHECK(env->ops->lock(env, "/db/LOCK", &lock, NULL) == 0);
        env->ops->unlock(env, lock);
        (void)env->ops->remove(env, "/db/LOCK", NULL);
        CHECK(sim_hash(sim) == disk);
    }
    CHECK(mem_used_bytes() == used);
}
