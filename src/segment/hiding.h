/* hiding.h - about how much of a segment hides something in older ones: for each so many bytes, one key is
 * looked for in their filters. Pure but for the caller's function. */
#ifndef SEGMENT_HIDING_H
#define SEGMENT_HIDING_H

#include <stdint.h>

#include "segment/bloom.h"
#include "varve/slice.h"

/* May an older segment hold the key? By their ranges and filters, without reading. */
typedef int (*hiding_older_fn)(void *arg, struct varve_slice key, struct bloom_hash hash);

struct hiding {
    hiding_older_fn older; /* NULL: not known */
    void *arg;
    uint64_t puts; /* bytes of keys and values */
    uint64_t deletes;
    uint64_t since;     /* bytes of puts since the last key that was asked for */
    uint64_t next;      /* how many there have to be for the next */
    uint64_t asked;     /* bytes that those keys stand for */
    uint64_t held;      /* of them, of keys that older segments may hold */
    uint64_t by_chance; /* and of others with random bits that they may hold as well */
};

void hiding_init(struct hiding *hiding, hiding_older_fn older, void *arg);
/* The newest version of each key; is_delete: it is no put. */
void hiding_add(struct hiding *hiding, struct varve_slice key, uint64_t bytes, int is_delete);
/* Of the bytes that were added, those of deletes and about those of puts over older entries. */
uint64_t hiding_bytes(const struct hiding *hiding);

#endif
