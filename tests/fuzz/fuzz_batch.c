/* Any bytes as the operations of a log record: each is refused, or it is written again as the same; and
 * batches of what was read, or is made up, hold it in order. Input: a byte (1: a made-up batch), the bytes. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "lsm/batch.h"
#include "take.h"
#include "varve/status.h"

#define OPS_MAX 200
#define LARGE_BYTES ((size_t)40 * 1024)

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x01ssss\x01\x01kv"),
    FUZZ_TOKEN("\x02ssss\x01k"),
    FUZZ_TOKEN("\x03ssss\x01\x01kl"),
    FUZZ_TOKEN("\x09"),
    FUZZ_TOKEN("\xff\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    {NULL, 0},
};

static uint8_t large[LARGE_BYTES];

static void cut_in_two(struct varve_slice whole, size_t at, struct varve_slice parts[2])
{
    parts[0] = varve_slice(whole.data, at);
    parts[1] = at < whole.len ? varve_slice(whole.data + at, whole.len - at) : varve_slice("", 0);
}

/* Adds the operation in parts, as callers do. Returns what the batch said. */
static int add(struct varve_batch *batch, const struct chunk *chunk, size_t cut)
{
    struct varve_slice key[2];
    struct varve_slice value[2];

    cut_in_two(chunk->key, cut % (chunk->key.len + 1), key);
    cut_in_two(chunk->value, cut % (chunk->value.len + 1), value);
    if (chunk->kind == CHUNK_DELETE)
        return varve_batch_delete(batch, key, 2);
    if (chunk->kind == CHUNK_RANGE_DELETE)
        return varve_batch_delete_range(batch, chunk->key, chunk->value);
    if (cut % 2 == 0)
        return varve_batch_put(batch, &chunk->key, 1, &chunk->value, 1, chunk->expire_ms);
    return varve_batch_put(batch, key, 2, value, 2, chunk->expire_ms);
}

/* Of a value in two parts the second one may be borrowed. */
static int same_value(const struct chunk *chunk, const struct batch_cursor *cursor,
                      struct varve_slice value)
{
    struct varve_slice lead = cursor->lead;

    if (chunk->value.len == 0 || chunk->value.data != NULL)
        return varve_slice_equal(chunk->value, value);
    return chunk->value.len == value.len && lead.len + cursor->tail.len == value.len &&
           memcmp(lead.data, value.data, lead.len) == 0 &&
           memcmp(cursor->tail.data, value.data + lead.len, cursor->tail.len) == 0;
}

static void check_batch(const struct varve_batch *batch, const struct chunk *ops, size_t count)
{
    struct batch_cursor cursor = {0};
    struct chunk chunk;
    uint64_t bytes = 0;

    CHECK(varve_batch_count(batch) == count);
    for (size_t i = 0; i < count; i++) {
        CHECK(batch_next(batch, &cursor, &chunk));
        CHECK(chunk.kind == ops[i].kind && chunk.expire_ms == ops[i].expire_ms);
        CHECK(varve_slice_equal(chunk.key, ops[i].key));
        CHECK(same_value(&chunk, &cursor, ops[i].value));
        CHECK(chunk.crc == chunk_crc(&ops[i]));
        bytes += chunk.key.len + chunk.value.len;
    }
    CHECK(!batch_next(batch, &cursor, &chunk));
    CHECK(varve_batch_size(batch) == bytes);
}

/* Reads one operation; 0: that is none. What is written of it is read as the same. */
static int read_op(struct take *take, struct chunk *chunk)
{
    uint8_t head[CHUNK_HEAD_MAX_BYTES];
    struct chunk again = {0};
    size_t len = chunk_get_head(take->at, take->end, chunk);

    if (len == 0)
        return 0;
    CHECK(len <= take_left(take) && chunk->key.len <= len);
    size_t head_len = chunk_put_head(head, chunk);
    CHECK(head_len <= len - chunk->key.len);
    take_slice(take, len);
    if (chunk->value.len > take_left(take))
        return 0;
    chunk->value = take_slice(take, chunk->value.len);
    uint8_t *bytes = mem_alloc(head_len + chunk->key.len + 1);
    CHECK(bytes != NULL);
    memcpy(bytes, head, head_len);
    if (chunk->key.len > 0)
        memcpy(bytes + head_len, chunk->key.data, chunk->key.len);
    CHECK(chunk_get_head(bytes, bytes + head_len + chunk->key.len, &again) ==
          head_len + chunk->key.len);
    CHECK(again.kind == chunk->kind && again.crc == chunk->crc &&
          again.expire_ms == chunk->expire_ms && again.value.len == chunk->value.len &&
          varve_slice_equal(again.key, chunk->key));
    mem_free(bytes);
    return 1;
}

static int make_op(struct take *take, struct chunk *chunk)
{
    uint8_t what = take_byte(take);
    uint8_t lens = take_byte(take);

    if (take_left(take) == 0)
        return 0;
    *chunk = (struct chunk){.kind = (enum chunk_kind)(1 + what % 3)};
    chunk->key = take_slice(take, lens & 15);
    if (chunk->kind == CHUNK_PUT && (what & 0x40))
        chunk->expire_ms = take_number(take, 8);
    if (chunk->kind == CHUNK_PUT && (what & 0x80))
        chunk->value = varve_slice(large, (size_t)take_number(take, 2) % LARGE_BYTES);
    else if (chunk->kind != CHUNK_DELETE)
        chunk->value = take_slice(take, lens >> 4);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    static struct chunk ops[OPS_MAX];
    struct chunk chunk = {0};
    uint64_t used = mem_used_bytes();
    int made_up = take_byte(&take) & 1;
    struct varve_batch *batch = varve_batch_create();
    size_t count = 0;

    CHECK(batch != NULL);
    while (count < OPS_MAX && (made_up ? make_op(&take, &chunk) : read_op(&take, &chunk))) {
        int rc = add(batch, &chunk, size + count);
        int is_empty = chunk.kind == CHUNK_RANGE_DELETE &&
                       varve_slice_compare(chunk.key, chunk.value) >= 0;
        CHECK(rc == (is_empty ? VARVE_EINVAL : 0));
        if (rc == 0)
            ops[count++] = chunk;
    }
    check_batch(batch, ops, count);
    varve_batch_clear(batch);
    check_batch(batch, ops, 0);
    varve_batch_destroy(batch);
    CHECK(mem_used_bytes() == used);
    return 0;
}
