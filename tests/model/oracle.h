/* oracle.h - what the database must hold: all keys that can be written, in order, each with all of its
 * versions. Simple on purpose. Aborts without memory. One thread. */
#ifndef MODEL_ORACLE_H
#define MODEL_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "varve/slice.h"

enum version_kind { VERSION_PUT, VERSION_DELETE, VERSION_RANGE };

struct version {
    uint64_t seq;
    uint64_t expire_ms; /* 0: never */
    uint32_t value_at;  /* its value is a piece of value_pool() */
    uint32_t value_len; /* bytes */
    enum version_kind kind;
};

struct history {
    struct version *at; /* ascending by seq; owned */
    uint32_t count;
    uint32_t cap;
};

struct oracle {
    struct varve_slice *keys; /* ascending, different; owned */
    uint8_t *key_bytes;
    size_t key_count;
    struct history *histories; /* one a key */
    uint64_t seq;              /* of the newest operation, the open group's included */
    uint64_t committed;
    struct touch *touches; /* in the order of the sequences, for taking them back */
    size_t touch_count;
    size_t touch_cap;
    uint64_t *ends; /* last sequence of each log record, ascending */
    size_t end_count;
    size_t end_cap;
};

#define VALUE_POOL_BYTES ((uint32_t)1024 * 1024)
#define VALUE_MAX_BYTES ((uint32_t)300 * 1024)
#define KEY_MAX_BYTES 2048u
#define GROUP_COUNT 4u

/* Draws the keys: about `count` of them, with `long_keys` some of 300 and 2048 bytes. */
void oracle_init(struct oracle *oracle, struct rng *rng, size_t count, int long_keys);
void oracle_deinit(struct oracle *oracle);

/* Each takes the next sequence number. */
void oracle_put(struct oracle *oracle, size_t key, struct version version);
void oracle_delete(struct oracle *oracle, size_t key);
void oracle_delete_range(struct oracle *oracle, size_t from, size_t to);
/* What was added since the last call is one record of the log. */
void oracle_commit(struct oracle *oracle);
/* Operations above k never happened. */
void oracle_cut(struct oracle *oracle, uint64_t k);
/* May the log end behind operation k? */
int oracle_ends_record(const struct oracle *oracle, uint64_t k);

/* The version that decides about a key for a reader at seq; NULL: none. */
const struct version *oracle_find(const struct oracle *oracle, size_t key, uint64_t seq);

/* Index of the first key that is not before `key`. */
size_t oracle_lower_bound(const struct oracle *oracle, struct varve_slice key);

struct varve_slice oracle_value(const struct version *version);

/* Count groups: a name, and the first string behind all that begin with it (static storage). */
struct varve_slice group_name(unsigned group);
struct varve_slice group_end(unsigned group);
/* As varve_options.count_group. */
size_t group_of_key(void *arg, struct varve_slice key);

#endif
