/* history.h - what the writer did, in the order of the sequence numbers, for readers that check what they
 * see. All of it is relaxed atomics: it must not order what the engine itself fails to order. */
#ifndef RACE_HISTORY_H
#define RACE_HISTORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

#define RACE_KEYS 512u     /* those from RACE_KEYS / 2 on are written in pairs (2n, 2n + 1) only */
#define RACE_KEY_BYTES 32u /* of a key as text, with its NUL */
#define RACE_VALUE_MAX 20000u /* bytes */

enum op_kind { OP_NONE, OP_PUT, OP_DELETE }; /* of the keys from `from` to `to` (exclusive) */

struct op {
    enum op_kind kind;
    uint32_t from;
    uint32_t to;
};

struct history {
    _Atomic uint64_t *ops; /* by sequence number */
    uint64_t cap;
    _Atomic uint64_t issued;            /* no operation above this was handed to the engine */
    _Atomic uint64_t newest[RACE_KEYS]; /* the last committed operation on each key */
};

void history_init(struct history *history, uint64_t cap);
void history_deinit(struct history *history);
void history_set(struct history *history, uint64_t seq, struct op op);
struct op history_get(const struct history *history, uint64_t seq);
/* Is there an operation in (after, upto] that deletes the key? */
int history_deleted(const struct history *history, uint32_t key, uint64_t after, uint64_t upto);

/* What a reader at a sequence must see, brought forward as that grows. */
struct state {
    uint64_t seq;
    uint64_t decider[RACE_KEYS]; /* 0: none */
    uint8_t live[RACE_KEYS];
};

void state_advance(struct state *state, const struct history *history, uint64_t seq);

/* Keys in their order: "k000017", with a group in front. */
struct varve_slice race_key(uint32_t key, char text[RACE_KEY_BYTES]);
/* Which key that is; RACE_KEYS: none. */
uint32_t race_key_no(struct varve_slice name);

/* A value tells its key, its sequence number and its length, and has a checksum. Returns the length. */
size_t race_value(uint32_t key, uint64_t seq, uint8_t bytes[RACE_VALUE_MAX]);
/* The sequence number in a value; 0: it is not a value of that key. */
uint64_t race_value_seq(uint32_t key, struct varve_slice value);

#endif
