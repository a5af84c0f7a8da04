/* model.h - what the database must hold: the operations in the order of their sequence numbers, and
 * from them the state S_k after the first k. Simple on purpose: a state is found by looking back
 * through the list for each of a few keys. One thread. */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "varve/db.h"

#define MODEL_KEYS 7u
#define MODEL_OPS_MAX 512u
#define MODEL_GROUP_BYTES 2u

enum model_kind { MODEL_PUT, MODEL_DELETE, MODEL_DELETE_RANGE };

struct model_op {
    enum model_kind kind;
    unsigned key; /* index; of a range the first */
    unsigned end; /* of a range: the first key behind it, MODEL_KEYS: all from `key` on */
    size_t value_len;
    uint64_t value_seed; /* 0: a value of zeros */
    uint64_t expire_ms;  /* 0: never */
    int ends_record;     /* the last operation of its log record: k may stop behind it */
};

struct model {
    struct model_op ops[MODEL_OPS_MAX]; /* op i has sequence number i + 1 */
    uint64_t count;                     /* committed */
    uint64_t pending;                   /* behind them: of the batch that is being written */
};

/* Keys in order; static storage. Index MODEL_KEYS: behind all keys, as the end of a range. */
struct varve_slice model_key(unsigned index);
/* The count group of a key, as varve_options.count_group. */
size_t model_group(void *arg, struct varve_slice key);

/* Adds to the pending operations and to the batch. */
void model_stage(struct model *model, struct varve_batch *batch, struct model_op op);
void model_commit(struct model *model); /* the pending ones are one record */
void model_drop_pending(struct model *model);
/* The operations behind k never happened. */
void model_cut(struct model *model, uint64_t k);

/* Whether the log may end behind operation k. */
int model_ends_record(const struct model *model, uint64_t k);

#define MODEL_CHECK_COUNTS 1u /* the newest state is looked at: counts are compared as well */

#define MODEL_DAMAGED 1

/* Compares all that a reader can see of db with S_k: gets, an iteration both ways, expiry, sequence
 * numbers, counts. With a snapshot what that sees. Returns 0, MODEL_DAMAGED if a read said that what it
 * needs is damaged, or -1; and then `why`. */
int model_compare(const struct model *model, uint64_t k, struct varve_db *db, unsigned flags,
                  const struct varve_snapshot *snapshot, char *why, size_t why_cap);

#endif
