#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rng.h"

#define HEAD_BYTES 24u /* sequence, key, length, CRC of what follows, CRC of these 20 bytes */

void history_init(struct history *history, uint64_t cap)
{
    *history = (struct history){.cap = cap};
    history->ops = mem_alloc_zero(cap * sizeof(*history->ops));
    CHECK(history->ops != NULL);
}

void history_deinit(struct history *history)
{
    mem_free(history->ops);
}

void history_set(struct history *history, uint64_t seq, struct op op)
{
    CHECK(seq < history->cap);
    atomic_store_explicit(&history->ops[seq],
                          (uint64_t)op.kind << 48 | (uint64_t)op.from << 24 | op.to,
                          memory_order_relaxed);
}

struct op history_get(const struct history *history, uint64_t seq)
{
    if (seq >= history->cap)
        return (struct op){OP_NONE, 0, 0};
    uint64_t word = atomic_load_explicit(&history->ops[seq], memory_order_relaxed);

    return (struct op){(enum op_kind)(word >> 48), (uint32_t)(word >> 24) & 0xffffff,
                       (uint32_t)word & 0xffffff};
}

int history_deleted(const struct history *history, uint32_t key, uint64_t after, uint64_t upto)
{
    for (uint64_t seq = upto; seq > after; seq--) {
        struct op op = history_get(history, seq);
        if (op.kind == OP_DELETE && op.from <= key && key < op.to)
            return 1;
    }
    return 0;
}

void state_advance(struct state *state, const struct history *history, uint64_t seq)
{
    while (state->seq < seq) {
        struct op op = history_get(history, ++state->seq);
        for (uint32_t key = op.from; key < op.to; key++) {
            state->decider[key] = state->seq;
            state->live[key] = op.kind == OP_PUT;
        }
    }
}

struct varve_slice race_key(uint32_t key, char text[RACE_KEY_BYTES])
{
    snprintf(text, RACE_KEY_BYTES, "%c:k%06u", key < RACE_KEYS / 2 ? 'a' : 'b', key);
    return varve_slice_str(text);
}

uint32_t race_key_no(struct varve_slice name)
{
    char text[RACE_KEY_BYTES];
    uint32_t key = 0;

    if (name.len != 9)
        return RACE_KEYS;
    for (size_t i = 3; i < name.len; i++)
        key = key * 10 + (uint32_t)(name.data[i] - '0');
    if (key >= RACE_KEYS || !varve_slice_equal(race_key(key, text), name))
        return RACE_KEYS;
    return key;
}

static size_t value_len(uint32_t key, uint64_t seq)
{
    struct rng rng = {.state = seq * 31 + key};
    uint64_t draw = rng_next(&rng);

    return HEAD_BYTES +
           (draw % 256 == 0 ? draw / 256 % (RACE_VALUE_MAX - HEAD_BYTES) : draw / 256 % 120);
}

size_t race_value(uint32_t key, uint64_t seq, uint8_t bytes[RACE_VALUE_MAX])
{
    uint32_t len = (uint32_t)value_len(key, seq);
    uint32_t crc;

    memset(bytes + HEAD_BYTES, (int)(seq & 0xff), len - HEAD_BYTES);
    memcpy(bytes, &seq, 8);
    memcpy(bytes + 8, &key, 4);
    memcpy(bytes + 12, &len, 4);
    crc = crc32c(0, bytes + HEAD_BYTES, len - HEAD_BYTES);
    memcpy(bytes + 16, &crc, 4);
    crc = crc32c(0, bytes, 20);
    memcpy(bytes + 20, &crc, 4);
    return len;
}

uint64_t race_value_seq(uint32_t key, struct varve_slice value)
{
    uint32_t words[6];
    uint64_t seq;

    if (value.len < HEAD_BYTES)
        return 0;
    memcpy(words, value.data, sizeof(words));
    memcpy(&seq, value.data, 8);
    if (words[2] != key || words[3] != value.len || words[5] != crc32c(0, value.data, 20) ||
        words[4] != crc32c(0, value.data + HEAD_BYTES, value.len - HEAD_BYTES))
        return 0;
    return seq;
}
