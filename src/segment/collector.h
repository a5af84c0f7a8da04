/* collector.h - makes a segment's properties from its entries, one by one: for the writer, and again
 * for segment_verify(), which compares. Same entries, same result. Pure. */
#ifndef SEGMENT_COLLECTOR_H
#define SEGMENT_COLLECTOR_H

#include "segment/chunk.h"
#include "segment/properties.h"

#define COLLECTOR_STEPS_MAX 64

struct collector {
    struct properties properties; /* so far; without places and value_bytes */
    varve_group_fn group;         /* may be NULL: no groups */
    void *group_arg;
    int newer_knows; /* the entry before counted with its prior known */
    int any_range;
    struct segment_bound range_upper;
    /* Ascending; each step's bytes alone, all of them expired by then. */
    struct segment_expiry_step steps[COLLECTOR_STEPS_MAX];
    uint32_t step_count;
};

void collector_init(struct collector *collector, varve_group_fn group, void *group_arg);
/* Puts and deletes, in order. same_key: it is an older version of the key of the entry before it. */
void collector_add(struct collector *collector, const struct entry *entry, int same_key);
/* Range tombstones, in the order of their begins. */
void collector_add_range(struct collector *collector, const struct entry *entry);
/* last_key: of the puts and deletes. Completes collector->properties; once, at the end. */
void collector_finish(struct collector *collector, struct varve_slice last_key);

#endif
