/* fake_db_private.h - the insides of fake_db.h, for fake_db.c and fake_db_iter.c alone. */
#ifndef SUPPORT_FAKE_DB_PRIVATE_H
#define SUPPORT_FAKE_DB_PRIVATE_H

#include "fake_db.h"
#include "varve/executor.h"

enum kind { PUT, DELETE, RANGE };

struct version {
    enum kind kind;
    uint64_t seq;
    uint64_t expire_ms;
    size_t key_len;
    size_t value_len; /* of a range: its end */
    uint8_t *key;
    uint8_t *value;
};

struct list {
    struct version *at;
    size_t count;
    size_t cap;
    uint64_t bytes;
};

struct varve_batch {
    struct list ops;
};

/* A fetch, from its start to its release. */
enum fetch_kind { FETCH_KEY, FETCH_COUNT, FETCH_ABOUT };

struct fetching {
    struct fetching *next;
    struct varve_db *db;
    struct varve_fetch *fetch;
    uint8_t *key;
    size_t key_len;
    enum fetch_kind kind;
    int ended;
};

struct varve_db {
    struct varve_executor executor;
    struct varve_job *jobs;
    char cold[8][32]; /* names; one that is empty is every name */
    unsigned cold_count;
    int cold_counts;
    int cold_values;
    struct fetching *fetches; /* oldest first */
    int fail_fetches;
    int refuse_fetches;
    int fetch_in_vain;
    uint64_t cancelled;
    uint64_t blocked;
    uint64_t waited;
    uint64_t delay_us;
    enum varve_stall_cause delay_cause;
    uint64_t delay_asked;
    uint64_t syncs;
    uint64_t flushes;
    struct list versions; /* oldest first */
    uint64_t seq;
    uint64_t committed;
    uint64_t now_ms;
    uint64_t show_up_to;
    uint64_t flushed_seq;
    uint64_t swept_ms;
    int fail_commit;
    int group_full;
    int refuse;
    unsigned refuse_nth; /* 0: none */
    int refuse_nth_code;
};

static inline struct varve_slice key_of(const struct version *v)
{
    return varve_slice(v->key, v->key_len);
}

/* The newest of the first `below` versions that decides the key; NULL: there is none. */
const struct version *fake_find(const struct varve_db *db, struct varve_slice key, size_t below);
/* 1 if the key is not in memory, as far as this read knows. */
int fake_is_cold(const struct varve_db *db, const struct varve_read *read, struct varve_slice key);

#endif
