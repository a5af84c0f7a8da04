#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

struct touch {
    uint64_t seq;
    uint32_t key;
};

/* Makes room for one more. */
static void grow(void *array, size_t *cap, size_t count, size_t elem_bytes)
{
    void **at = array;

    if (count < *cap)
        return;
    *cap = *cap == 0 ? 8 : 2 * *cap;
    *at = mem_realloc(*at, *cap * elem_bytes);
    CHECK(*at != NULL);
}

/* ---- groups ---- */

static const struct {
    const char *name;
    const char *end;
} groups[GROUP_COUNT] = {
    {"A:", "A;"}, {"B", "C"}, {"CCCCCCCCCCCCCCCC", "CCCCCCCCCCCCCCCD"}, {"D\xff", "E"}};

struct varve_slice group_name(unsigned group)
{
    return varve_slice_str(groups[group].name);
}

struct varve_slice group_end(unsigned group)
{
    return varve_slice_str(groups[group].end);
}

size_t group_of_key(void *arg, struct varve_slice key)
{
    (void)arg;
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        struct varve_slice name = group_name(i);
        if (key.len >= name.len && memcmp(key.data, name.data, name.len) == 0)
            return name.len;
    }
    return 0;
}

/* ---- values ---- */

/* Half of it does not get smaller, the other half does. */
static const uint8_t *value_pool(void)
{
    static uint8_t *pool;
    struct rng rng;

    if (pool != NULL)
        return pool;
    static uint8_t bytes[VALUE_POOL_BYTES];
    rng_init(&rng, 1);
    for (size_t at = 0; at < VALUE_POOL_BYTES; at += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(bytes + at, &word, sizeof(word));
        if (at >= VALUE_POOL_BYTES / 2 && at % 64 != 0)
            memcpy(bytes + at, "varved  ", 8);
    }
    pool = bytes;
    return pool;
}

struct varve_slice oracle_value(const struct version *version)
{
    return varve_slice(value_pool() + version->value_at, version->value_len);
}

/* ---- keys ---- */

static size_t draw_tail(struct rng *rng, uint8_t *to, size_t number, int long_keys)
{
    static const uint8_t odd[] = {0, 1, 'a', 0xff};
    uint64_t kind = rng_below(rng, long_keys ? 16 : 12);
    size_t len = rng_below(rng, 12);

    if (kind >= 12) { /* long, and different only at their ends */
        size_t shared = kind == 15 && rng_below(rng, 4) == 0 ? KEY_MAX_BYTES - 40 : 280;
        memset(to, 'p', shared);
        return shared + (size_t)sprintf((char *)to + shared, "%zu", number);
    }
    if (kind < 6)
        return (size_t)sprintf((char *)to, "%zu", number);
    if (kind < 9)
        return (size_t)sprintf((char *)to, "user:%08zu:name", number);
    for (size_t i = 0; i < len; i++)
        to[i] = odd[rng_below(rng, sizeof(odd))];
    return len + (size_t)sprintf((char *)to + len, "%zx", number);
}

static int by_order(const void *a, const void *b)
{
    return varve_slice_compare(*(const struct varve_slice *)a, *(const struct varve_slice *)b);
}

void oracle_init(struct oracle *oracle, struct rng *rng, size_t count, int long_keys)
{
    size_t room = count * (long_keys ? KEY_MAX_BYTES : 64) + 1;
    size_t different = 0;
    size_t used = 0;

    *oracle = (struct oracle){
        .keys = mem_alloc(count * sizeof(*oracle->keys)),
        .key_bytes = mem_alloc(room),
        .histories = mem_alloc_zero(count * sizeof(*oracle->histories)),
    };
    CHECK(oracle->keys != NULL && oracle->key_bytes != NULL && oracle->histories != NULL);
    for (size_t i = 0; i < count; i++) {
        uint8_t *key = oracle->key_bytes + used;
        uint64_t group = rng_below(rng, GROUP_COUNT + 2);
        size_t len = 0;
        if (group < GROUP_COUNT) {
            len = group_name((unsigned)group).len;
            memcpy(key, group_name((unsigned)group).data, len);
        }
        len += draw_tail(rng, key + len, i, long_keys);
        oracle->keys[i] = varve_slice(key, len);
        used += len;
        CHECK(used < room);
    }
    qsort(oracle->keys, count, sizeof(*oracle->keys), by_order);
    for (size_t i = 0; i < count; i++)
        if (different == 0 || !varve_slice_equal(oracle->keys[different - 1], oracle->keys[i]))
            oracle->keys[different++] = oracle->keys[i];
    oracle->key_count = different;
}

void oracle_deinit(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->key_count; i++)
        mem_free(oracle->histories[i].at);
    mem_free(oracle->keys);
    mem_free(oracle->key_bytes);
    mem_free(oracle->histories);
    mem_free(oracle->touches);
    mem_free(oracle->ends);
    *oracle = (struct oracle){0};
}

size_t oracle_lower_bound(const struct oracle *oracle, struct varve_slice key)
{
    size_t low = 0;
    size_t high = oracle->key_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (varve_slice_compare(oracle->keys[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- operations ---- */

static void add_version(struct oracle *oracle, size_t key, struct version version)
{
    struct history *history = &oracle->histories[key];
    size_t cap = history->cap;

    grow(&history->at, &cap, history->count, sizeof(*history->at));
    history->cap = (uint32_t)cap;
    version.seq = oracle->seq;
    history->at[history->count++] = version;
    grow(&oracle->touches, &oracle->touch_cap, oracle->touch_count, sizeof(*oracle->touches));
    oracle->touches[oracle->touch_count++] = (struct touch){.seq = oracle->seq,
                                                            .key = (uint32_t)key};
}

void oracle_put(struct oracle *oracle, size_t key, struct version version)
{
    oracle->seq++;
    version.kind = VERSION_PUT;
    add_version(oracle, key, version);
}

void oracle_delete(struct oracle *oracle, size_t key)
{
    oracle->seq++;
    add_version(oracle, key, (struct version){.kind = VERSION_DELETE});
}

void oracle_delete_range(struct oracle *oracle, size_t from, size_t to)
{
    oracle->seq++;
    for (size_t key = from; key < to; key++)
        add_version(oracle, key, (struct version){.kind = VERSION_RANGE});
}

void oracle_commit(struct oracle *oracle)
{
    if (oracle->committed == oracle->seq)
        return;
    oracle->committed = oracle->seq;
    grow(&oracle->ends, &oracle->end_cap, oracle->end_count, sizeof(*oracle->ends));
    oracle->ends[oracle->end_count++] = oracle->seq;
}

void oracle_cut(struct oracle *oracle, uint64_t k)
{
    while (oracle->touch_count > 0 && oracle->touches[oracle->touch_count - 1].seq > k)
        oracle->histories[oracle->touches[--oracle->touch_count].key].count--;
    while (oracle->end_count > 0 && oracle->ends[oracle->end_count - 1] > k)
        oracle->end_count--;
    oracle->seq = k;
    if (oracle->committed > k)
        oracle->committed = k;
}

int oracle_ends_record(const struct oracle *oracle, uint64_t k)
{
    for (size_t i = oracle->end_count; i > 0 && oracle->ends[i - 1] >= k; i--)
        if (oracle->ends[i - 1] == k)
            return 1;
    return k == 0;
}

const struct version *oracle_find(const struct oracle *oracle, size_t key, uint64_t seq)
{
    const struct history *history = &oracle->histories[key];
    uint32_t low = 0;
    uint32_t high = history->count;

    if (high > 0 && history->at[high - 1].seq <= seq)
        return &history->at[high - 1];
    while (low < high) { /* the first that is too new */
        uint32_t middle = low + (high - low) / 2;
        if (history->at[middle].seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &history->at[low - 1];
}
