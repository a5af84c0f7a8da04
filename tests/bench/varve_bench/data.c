#include "data.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

#define POOL_BYTES ((uint64_t)64 * 1024) /* stays in the processor's cache */
#define TAG_BYTES 8

static uint64_t mix(uint64_t x)
{
    struct rng rng;

    rng_init(&rng, x);
    return rng_next(&rng);
}

void data_init(struct data *data, const struct bench_config *config)
{
    struct rng rng;

    *data = (struct data){.keys = config->keys,
                          .key_bytes = config->key_bytes,
                          .value_bytes = config->value_bytes,
                          .seed = config->seed,
                          .bits = 2,
                          .pool_bytes = POOL_BYTES};
    while ((uint64_t)1 << data->bits < config->keys)
        data->bits++;
    data->pool = mem_alloc(POOL_BYTES + VALUE_BYTES_MAX);
    if (data->pool == NULL)
        bench_fail("no memory for values");
    rng_init(&rng, config->seed);
    for (size_t i = 0; i < POOL_BYTES + VALUE_BYTES_MAX; i += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(data->pool + i, &word, 8);
    }
}

void data_deinit(struct data *data)
{
    mem_free(data->pool);
    data->pool = NULL;
}

struct varve_slice data_key(const struct data *data, uint64_t number, uint8_t *text)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    uint32_t at = data->key_bytes;

    for (; at >= 2 && number != 0; number /= 100) {
        at -= 2;
        memcpy(text + at, pairs + number % 100 * 2, 2);
    }
    if (number != 0)
        text[--at] = (uint8_t)('0' + number % 10);
    memset(text, '0', at);
    return varve_slice(text, data->key_bytes);
}

static uint64_t tag_of(const struct data *data, uint64_t n, uint32_t version)
{
    return mix(data->seed ^ (n << 16) ^ version);
}

struct varve_slice data_value(const struct data *data, uint64_t n, uint32_t version, uint8_t *bytes)
{
    uint64_t tag = tag_of(data, n, version);
    uint32_t half = (data->value_bytes + 1) / 2;

    memcpy(bytes, &tag, TAG_BYTES);
    memcpy(bytes + TAG_BYTES, data->pool + tag % data->pool_bytes, half - TAG_BYTES);
    memcpy(bytes + half, bytes, data->value_bytes - half);
    return varve_slice(bytes, data->value_bytes);
}

int data_check(const struct data *data, uint64_t n, uint32_t first_version, uint32_t last_version,
               struct varve_slice value, int quick)
{
    uint32_t half = (data->value_bytes + 1) / 2;
    uint32_t version = last_version;
    uint64_t tag;

    if (value.len != data->value_bytes)
        return 0;
    memcpy(&tag, value.data, TAG_BYTES);
    while (tag != tag_of(data, n, version)) {
        if (version == first_version)
            return 0;
        version--;
    }
    if (quick)
        return 1;
    return memcmp(value.data + TAG_BYTES, data->pool + tag % data->pool_bytes, half - TAG_BYTES) ==
               0 &&
           memcmp(value.data + half, value.data, data->value_bytes - half) == 0;
}

/* A bijection of the numbers of `bits` bits, applied until it ends among the keys. */
uint64_t data_order(const struct data *data, uint64_t salt, uint64_t i)
{
    uint64_t mask = ((uint64_t)1 << data->bits) - 1;
    uint64_t odd = mix(data->seed + salt) | 1;
    unsigned shift = data->bits / 2;

    do {
        for (int turn = 0; turn < 3; turn++) {
            i = (i * odd + salt) & mask;
            i ^= i >> shift;
        }
    } while (i >= data->keys);
    return i;
}
