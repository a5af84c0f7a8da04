/* Expiry: a few steps (time, bytes) shall say how much has expired by then, and never too much. They
 * are kept ascending; when there are too many, a step is put into its successor, which only makes the
 * statement later. The pair with the smallest (bytes that are told later) * (how much later) goes first.
 * To do so at every entry would cost a pass over the steps each; so half of them go at once. */
#include "segment/collector.h"

#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

void collector_init(struct collector *collector, varve_group_fn group, void *group_arg)
{
    memset(collector, 0, sizeof(*collector));
    collector->group = group;
    collector->group_arg = group_arg;
    collector->properties.seq_min = UINT64_MAX;
}

static void steps_remove_cheapest(struct collector *collector)
{
    struct segment_expiry_step *steps = collector->steps;
    uint32_t best = 0;
    double best_cost = 0;

    for (uint32_t i = 0; i + 1 < collector->step_count; i++) {
        double cost = (double)steps[i].bytes *
                      (double)(steps[i + 1].expire_ms - steps[i].expire_ms);
        if (i == 0 || cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    steps[best + 1].bytes += steps[best].bytes;
    collector->step_count--;
    memmove(&steps[best], &steps[best + 1], (collector->step_count - best) * sizeof(steps[0]));
}

static void steps_add(struct collector *collector, uint64_t expire_ms, uint64_t bytes)
{
    struct segment_expiry_step *steps = collector->steps;
    uint32_t at = 0;

    if (collector->step_count == COLLECTOR_STEPS_MAX)
        while (collector->step_count > COLLECTOR_STEPS_MAX / 2)
            steps_remove_cheapest(collector);
    while (at < collector->step_count && steps[at].expire_ms < expire_ms)
        at++;
    if (at < collector->step_count && steps[at].expire_ms == expire_ms) {
        steps[at].bytes += bytes;
        return;
    }
    memmove(&steps[at + 1], &steps[at], (collector->step_count - at) * sizeof(steps[0]));
    steps[at] = (struct segment_expiry_step){.expire_ms = expire_ms, .bytes = bytes};
    collector->step_count++;
}

/* Groups are beginnings of keys, and none begins another; so each one's keys come together. */
static void collector_count_group(struct collector *collector, const struct entry *entry,
                                  int same_key)
{
    struct properties *properties = &collector->properties;
    size_t len = collector->group == NULL
                     ? 0
                     : collector->group(collector->group_arg, entry->chunk.key);

    if (len == 0 || properties->group_count > SEGMENT_GROUPS_MAX)
        return;
    CHECK(len <= VARVE_GROUP_MAX_BYTES && len <= entry->chunk.key.len);
    struct segment_group *group = NULL;
    if (properties->group_count > 0)
        group = &properties->groups[properties->group_count - 1];
    if (group == NULL || group->name_len != len ||
        memcmp(group->name, entry->chunk.key.data, len) != 0) {
        if (properties->group_count++ == SEGMENT_GROUPS_MAX)
            return;
        group = &properties->groups[properties->group_count - 1];
        group->name_len = (uint8_t)len;
        memcpy(group->name, entry->chunk.key.data, len);
    }
    group->entries++;
    group->unknown += entry->prior_unknown != 0;
    /* A put counts 1; if the next newer version knows of it, that one took it off. */
    group->live += entry->chunk.kind == CHUNK_PUT && !(same_key && collector->newer_knows);
    collector->newer_knows = !entry->prior_unknown;
}

static void collector_count(struct collector *collector, const struct entry *entry)
{
    struct properties *properties = &collector->properties;

    if (entry->seq < properties->seq_min)
        properties->seq_min = entry->seq;
    if (entry->seq > properties->seq_max)
        properties->seq_max = entry->seq;
    properties->raw_bytes += entry->chunk.key.len + entry->chunk.value.len;
}

static void collector_lower(struct collector *collector, struct varve_slice key)
{
    struct segment_bound lower;

    segment_bound_lower(&lower, key);
    if (varve_slice_compare(segment_bound_slice(&lower),
                            segment_bound_slice(&collector->properties.lower)) < 0)
        collector->properties.lower = lower;
}

void collector_add(struct collector *collector, const struct entry *entry, int same_key)
{
    struct properties *properties = &collector->properties;

    if (properties->entries + properties->ranges == 0)
        segment_bound_lower(&properties->lower, entry->chunk.key);
    else if (properties->entries == 0)
        collector_lower(collector, entry->chunk.key);
    properties->entries++;
    collector_count(collector, entry);
    if (same_key && !MUTANT("superseded-uncounted"))
        properties->superseded_bytes += entry->chunk.key.len + entry->chunk.value.len;
    collector_count_group(collector, entry, same_key);
    if (entry->chunk.kind != CHUNK_PUT)
        return;
    properties->puts++;
    if (entry->chunk.expire_ms == 0)
        return;
    properties->expiring++;
    if (entry->chunk.expire_ms > properties->expire_ms_max)
        properties->expire_ms_max = entry->chunk.expire_ms;
    steps_add(collector, entry->chunk.expire_ms, entry->chunk.key.len + entry->chunk.value.len);
}

void collector_add_range(struct collector *collector, const struct entry *entry)
{
    struct properties *properties = &collector->properties;
    struct segment_bound upper;

    if (properties->entries + properties->ranges == 0)
        segment_bound_lower(&properties->lower, entry->chunk.key);
    else if (properties->ranges == 0)
        collector_lower(collector, entry->chunk.key);
    properties->ranges++;
    collector_count(collector, entry);
    segment_bound_upper_end(&upper, entry->chunk.value);
    if (!collector->any_range ||
        segment_upper_compare(segment_bound_slice(&upper),
                              segment_bound_slice(&collector->range_upper)) > 0)
        collector->range_upper = upper;
    collector->any_range = 1;
}

void collector_finish(struct collector *collector, struct varve_slice last_key)
{
    struct properties *properties = &collector->properties;
    uint64_t bytes = 0;

    if (properties->entries > 0)
        segment_bound_upper(&properties->upper, last_key);
    if (collector->any_range &&
        (properties->entries == 0 ||
         segment_upper_compare(segment_bound_slice(&collector->range_upper),
                               segment_bound_slice(&properties->upper)) > 0))
        properties->upper = collector->range_upper;
    if (properties->entries + properties->ranges == 0)
        properties->seq_min = 0;
    while (collector->step_count > SEGMENT_EXPIRY_STEPS_MAX)
        steps_remove_cheapest(collector);
    properties->expiry_count = collector->step_count;
    for (uint32_t i = 0; i < collector->step_count; i++) {
        bytes += collector->steps[i].bytes;
        properties->expiry[i].expire_ms = collector->steps[i].expire_ms;
        properties->expiry[i].bytes = bytes;
    }
}
