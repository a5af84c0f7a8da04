/* picker_private.h - what the parts of the picker share. Others use picker.h. */
#ifndef LSM_PICKER_PRIVATE_H
#define LSM_PICKER_PRIVATE_H

#include "lsm/picker.h"

/* The numbers of the policy; a value in place of the default is for measurements (decisions/0006). */
struct picker_tuning {
    uint32_t upper_percent;      /* of the last level may lie above it */
    uint32_t depth_max;          /* runs of level 0 at one place, before that alone is a reason */
    uint32_t level0_flushes_max; /* level 0 holds that many; more data need a level between */
    uint32_t level_ratio;
    int level0_merges; /* level 0 is merged with itself where that is cheaper */
    int level0_whole;  /* a merge takes all of level 0 */
};
extern const struct picker_tuning picker_default_tuning;

/* Segments that go together: marked, and listed by their place in `marks`. */
struct picker_set {
    uint8_t *marks;
    size_t *list;
    size_t count;
    struct varve_slice lower; /* the range that all of them span, without a gap */
    struct varve_slice upper;
    uint64_t upper_bytes;   /* of the levels above the output level */
    uint64_t upper_dead;    /* what they hide: picker_dead() */
    uint64_t upper_deleted; /* of that, what tombstones do */
    uint64_t lower_bytes;   /* of the output level */
};

struct picker_work {
    const struct picker_view *view;
    const struct picker_tuning *tuning;
    struct picker_debt debt;
    uint32_t base_level;             /* where level 0 goes */
    uint64_t dead[VARVE_LEVELS_MAX]; /* what each level hides */
    uint64_t bytes[VARVE_LEVELS_MAX];
    uint64_t bytes_total;
    uint64_t entry_bytes; /* mean of the last level */
    size_t *offset;       /* of each run's first segment in set.marks */
    size_t total;
    uint64_t output_bytes; /* size of segments that are written */
    struct picker_set set;
    int refused; /* a set was larger than the room */
};

/* What a choice is made of: enough to make the set again. */
struct picker_seed {
    size_t run;
    size_t at;
    size_t run_last; /* of a merge inside level 0: the oldest run that takes part */
    uint32_t output_level;
};

/* --- ranges */
static inline int picker_upper_above(struct varve_slice a, struct varve_slice b)
{
    return b.len != 0 && (a.len == 0 || varve_slice_compare(a, b) > 0);
}
/* The segments of the run that overlap [lower, upper): [*from, *to). */
void picker_overlap(const struct picker_run *run, struct varve_slice lower,
                    struct varve_slice upper, size_t *from, size_t *to);
/* Does a run behind number `run` and before run_end overlap the segment, leaving out the marked ones? */
int picker_older_overlaps(const struct picker_work *work, size_t run, size_t run_end,
                          const struct picker_segment *segment);
/* Is something in the set's range busy, or what it would come between, in the runs before run_end? */
int picker_range_busy(const struct picker_work *work, size_t run_end);
/* What its tombstones hide, and what all of it does. Not of the last level. */
uint64_t picker_deleted(const struct picker_work *work, const struct picker_segment *segment);
uint64_t picker_dead(const struct picker_work *work, const struct picker_segment *segment);
/* Runs of level 0 over key. */
uint32_t picker_depth(const struct picker_view *view, struct varve_slice key);

size_t picker_level0_runs(const struct picker_view *view);

/* --- debt */
void picker_work_measure(struct picker_work *work);

/* --- sets */
void picker_set_clear(struct picker_work *work);
void picker_set_add(struct picker_work *work, size_t run, size_t at, uint32_t output_level);
/* The set that goes from a segment to output_level: it, the older ones that it must not pass, what
 * they overlap there, and what else lies inside of that range and may come along. 0: it can't be done
 * now (something is busy, or there are too many). */
int picker_set_close(struct picker_work *work, const struct picker_seed *seed);
/* The set of a merge inside level 0, from seed->run to seed->run_last. */
int picker_set_close_level0(struct picker_work *work, const struct picker_seed *seed);

/* Is there room on the disk for what the set and `more` bytes are merged into, beside them? What deletes
 * hide is not written again. */
int picker_set_fits(struct picker_work *work, uint64_t more);

/* Bytes that move for each byte of the output level that is rewritten; a move rewrites nothing. */
static inline double picker_density(const struct picker_set *set)
{
    return set->count == 1 ? 1e18 : (double)set->upper_bytes / ((double)set->lower_bytes + 1);
}

/* Bytes that are dead for each byte that is rewritten. */
static inline double picker_gain(const struct picker_set *set)
{
    return set->count == 1 ? 1e18
                           : (double)set->upper_dead /
                                 ((double)set->upper_bytes + (double)set->lower_bytes + 1);
}

/* --- choices: 1, with *pick filled from the set but for its inputs; 0: nothing to do */
int picker_choose_drop(struct picker_work *work, struct pick *pick);
int picker_choose_dead(struct picker_work *work, uint32_t percent, struct pick *pick);
int picker_choose_all(struct picker_work *work, struct pick *pick);
int picker_choose_cull(struct picker_work *work, struct pick *pick);
int picker_choose_deep(struct picker_work *work, struct pick *pick);
/* Runs of level 0 that are of like size, at whatever depth. */
int picker_choose_alike(struct picker_work *work, struct pick *pick);
int picker_choose_level0(struct picker_work *work, double (*value_of)(const struct picker_set *set),
                         struct pick *pick);
/* What lies over nothing, the oldest first: it goes down as it is. */
int picker_choose_move(struct picker_work *work, struct pick *pick);
int picker_choose_level(struct picker_work *work, uint32_t level, struct pick *pick);
int picker_choose_segments(struct picker_work *work, struct pick *pick);
/* A merge of the set, or a move if it is one segment that meets nothing. */
void picker_set_pick(const struct picker_work *work, enum pick_reason reason, uint32_t output_level,
                     struct pick *pick);

int picker_pick_tuned(const struct picker_view *view, const struct picker_tuning *tuning,
                      struct pick *pick) MUST_CHECK;

#endif
