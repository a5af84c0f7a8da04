/* count_memory.h - what counts looked up (count_keys.h), remembered a layer each, so that the next one looks
 * up what is new. Exact answers and those by sample are kept apart. Any thread. */
#ifndef LSM_COUNT_MEMORY_H
#define LSM_COUNT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"
#include "varve/options.h"
#include "varve/slice.h"

/* How many of a layer's unknown keys were live below it. */
struct count_answer {
    uint64_t layer; /* a segment's file number, or a memtable's id with the highest bit set */
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    uint64_t step;     /* one of so many unknown keys was looked up; 1: it is exact */
    uint64_t upto_seq; /* of the entries that were looked at */
    uint64_t live_below;
    double variance;       /* of live_below; 0 of an exact one */
    uint64_t expiry_drops; /* of the version: an answer ends when what lies below changes */
};

struct count_memory {
    struct mutex mutex;           /* for a few loads and stores */
    struct count_answer *answers; /* owned */
    size_t count;
    size_t cap;
};

void count_memory_init(struct count_memory *memory);
void count_memory_deinit(struct count_memory *memory);

/* *answer is zeroed if nothing is known. sampled 0: an exact answer, 1: one by sample. */
void count_memory_find(struct count_memory *memory, uint64_t layer, struct varve_slice name,
                       int sampled, struct count_answer *answer);
/* Takes the place of one of the same kind. Without memory, or with too much in it, it is forgotten, and the
 * next count starts from the beginning. */
void count_memory_keep(struct count_memory *memory, const struct count_answer *answer);

#endif
