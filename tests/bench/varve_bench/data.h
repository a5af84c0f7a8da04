/* data.h - keys and values: from their number alone, alike for all engines.
 * Key number n, of 0 .. keys-1, is the decimal number 2n with leading zeros; 2n+1 is a key that is
 * missing, between two that are there. A value names its key and version in its first 8 bytes; its second
 * half repeats its first, which does not compress. Read-only after data_init(): any thread. */
#ifndef VARVE_BENCH_DATA_H
#define VARVE_BENCH_DATA_H

#include <stdint.h>

#include "bench.h"
#include "varve/slice.h"

struct data {
    uint64_t keys;
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint64_t seed;
    unsigned bits; /* of an order's domain */
    uint64_t pool_bytes;
    uint8_t *pool;
};

void data_init(struct data *data, const struct bench_config *config);
void data_deinit(struct data *data);

/* Fills text, which has room for KEY_BYTES_MAX; number below 2 * keys. */
struct varve_slice data_key(const struct data *data, uint64_t number, uint8_t *text);
struct varve_slice data_value(const struct data *data, uint64_t n, uint32_t version,
                              uint8_t *bytes);
/* Is it the value of key n, of one of these versions? quick: looks at its first bytes and its length. */
int data_check(const struct data *data, uint64_t n, uint32_t first_version, uint32_t last_version,
               struct varve_slice value, int quick);
/* The i-th of 0 .. keys-1 in the order that belongs to `salt`: each once, as if at random. */
uint64_t data_order(const struct data *data, uint64_t salt, uint64_t i);

#endif
