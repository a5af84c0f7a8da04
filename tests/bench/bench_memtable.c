/* bench_memtable - what the memtable costs: ns an insert, a hit, a miss, a step of an ordered walk,
 * and bytes a key, for random 16-byte keys and for "key:%012d" keys with 100-byte values.
 * usage: bench_memtable [keys, 1000000 by default] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lsm/memtable.h"

#define KEY_BYTES 16

struct bench {
    const char *name;
    size_t count;
    size_t value_len;
    uint8_t *keys; /* in the order of their insertion, then of their look-up */
};

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static struct varve_slice bench_key(const struct bench *bench, size_t i)
{
    return varve_slice(bench->keys + i * KEY_BYTES, KEY_BYTES);
}

/* So that a look-up's own key comes from the cache. */
static void shuffle(struct bench *bench, struct rng *rng)
{
    uint8_t swap[KEY_BYTES];

    for (size_t i = bench->count - 1; i > 0; i--) {
        uint8_t *a = bench->keys + i * KEY_BYTES;
        uint8_t *b = bench->keys + rng_below(rng, i + 1) * KEY_BYTES;
        memcpy(swap, a, KEY_BYTES);
        memcpy(a, b, KEY_BYTES);
        memcpy(b, swap, KEY_BYTES);
    }
}

static void fill_random(struct bench *bench, struct rng *rng)
{
    for (size_t i = 0; i < bench->count * KEY_BYTES; i += 8) {
        uint64_t word = rng_next(rng);
        memcpy(bench->keys + i, &word, sizeof(word));
    }
}

static void fill_decimal(struct bench *bench, struct rng *rng)
{
    char text[KEY_BYTES + 1];

    for (size_t i = 0; i < bench->count; i++) {
        snprintf(text, sizeof(text), "key:%012u", (unsigned)i);
        memcpy(bench->keys + i * KEY_BYTES, text, KEY_BYTES);
    }
    shuffle(bench, rng);
}

static double per_key(uint64_t from_ns, size_t count)
{
    return (double)(now_ns() - from_ns) / (double)count;
}

static double bench_insert(const struct bench *bench, struct memtable *memtable)
{
    static const uint8_t value[100];
    struct memtable_undo undo;
    enum memtable_prior prior;
    uint64_t from = now_ns();

    for (size_t i = 0; i < bench->count; i++) {
        struct chunk chunk = {
            .kind = CHUNK_PUT,
            .key = bench_key(bench, i),
            .value = varve_slice(value, bench->value_len),
        };
        CHECK(memtable_add(memtable, i + 1, &chunk, &prior, &undo) == 0);
        CHECK(prior == MEMTABLE_PRIOR_NONE);
    }
    return per_key(from, bench->count);
}

static double bench_hit(const struct bench *bench, const struct memtable *memtable)
{
    struct entry record;
    uint64_t from = now_ns();

    for (size_t i = 0; i < bench->count; i++)
        CHECK(memtable_get(memtable, bench_key(bench, i), UINT64_MAX, &record) == MEMTABLE_VALUE);
    return per_key(from, bench->count);
}

/* Keys that differ from one that is there in the last byte. */
static double bench_miss(const struct bench *bench, const struct memtable *memtable)
{
    struct entry record;
    uint8_t key[KEY_BYTES];
    uint64_t from = now_ns();

    for (size_t i = 0; i < bench->count; i++) {
        memcpy(key, bench_key(bench, i).data, KEY_BYTES);
        key[KEY_BYTES - 1] ^= 0x80;
        CHECK(memtable_get(memtable, varve_slice(key, KEY_BYTES), UINT64_MAX, &record) ==
              MEMTABLE_NONE);
    }
    return per_key(from, bench->count);
}

static double bench_walk(const struct bench *bench, struct memtable *memtable)
{
    struct memtable_iter *iter = memtable_iter_create(memtable);
    struct entry record;
    size_t seen = 0;

    CHECK(iter != NULL);
    uint64_t from = now_ns();
    for (memtable_iter_first(iter); memtable_iter_valid(iter); memtable_iter_next(iter)) {
        CHECK(memtable_iter_get(iter, UINT64_MAX, &record) == MEMTABLE_VALUE);
        seen++;
    }
    CHECK(seen == bench->count);
    double ns = per_key(from, seen);
    memtable_iter_destroy(iter);
    return ns;
}

static void bench_run(struct bench *bench, struct rng *rng,
                      void (*fill)(struct bench *, struct rng *))
{
    struct memtable *memtable = memtable_create();

    CHECK(memtable != NULL);
    fill(bench, rng);
    double insert = bench_insert(bench, memtable);
    shuffle(bench, rng);
    double hit = bench_hit(bench, memtable);
    double miss = bench_miss(bench, memtable);
    double walk = bench_walk(bench, memtable);
    double bytes = (double)memtable_used_bytes(memtable) / (double)bench->count;
    printf("%-20s %8.0f %8.0f %8.0f %8.0f %10.1f %10.1f\n", bench->name, insert, hit, miss, walk,
           bytes, bytes - KEY_BYTES - (double)bench->value_len);
    memtable_unref(memtable);
}

int main(int argc, char **argv)
{
    struct bench bench = {.count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000};
    struct rng rng;

    if (bench.count < 2 || bench.count > UINT32_MAX / 2) {
        fprintf(stderr, "usage: bench_memtable [keys]\n");
        return 1;
    }
    rng_init(&rng, 1);
    bench.keys = mem_alloc(bench.count * KEY_BYTES);
    CHECK(bench.keys != NULL);
    printf("%-20s %8s %8s %8s %8s %10s %10s\n", "ns an operation", "insert", "hit", "miss", "walk",
           "bytes/key", "overhead");
    for (int round = 0; round < 3; round++) {
        bench.name = "random 16 B + 0 B";
        bench.value_len = 0;
        bench_run(&bench, &rng, fill_random);
        bench.name = "random 16 B + 100 B";
        bench.value_len = 100;
        bench_run(&bench, &rng, fill_random);
        bench.name = "key:%012d + 100 B";
        bench_run(&bench, &rng, fill_decimal);
    }
    mem_free(bench.keys);
    return 0;
}
