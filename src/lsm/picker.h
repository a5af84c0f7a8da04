/* picker.h - decides what is compacted next. Pure: a picture of the levels in, a choice out; no files, no
 * clock, no memory between calls. decisions/ has the reasons: the newest data tiered (level 0), the rest
 * levelled, sizes set from the last level up, so that what is dead comes to PICKER_UPPER_PERCENT of what is needed
 * (or to the floor, if that is more), and merges picked where most is dead for the bytes that they rewrite. */
#ifndef LSM_PICKER_H
#define LSM_PICKER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"
#include "varve/stats.h"

struct picker_segment {
    uint64_t file_no;
    uint64_t bytes;
    struct varve_slice lower;
    struct varve_slice upper; /* exclusive; len 0: no bound */
    uint64_t seq_min;
    uint64_t seq_max;
    uint64_t entries; /* puts, tombstones and range tombstones */
    uint64_t deletes; /* tombstones, range tombstones among them */
    uint64_t ranges;
    uint64_t expired_bytes; /* at least so many, by now, for readers of now and of every snapshot; 0
                             * once a merge dropped what had expired */
    uint64_t superseded_bytes; /* kept for snapshots under newer versions */
    uint64_t
        hiding_bytes;   /* about so many hide as much in older segments; deletes are among them */
    int all_dead;       /* a set of tombstones for every reader: properties_all_dead() */
    uint64_t cover_seq; /* range tombstones up to this sequence cover all of it, it is older than
                             * them and no snapshot lies between; 0: no */
    uint64_t covered_bytes; /* about so many are hidden like that, where not all of it is */
    uint64_t culled_seq;    /* what segments up to there hide in it is gone from it: pick.cull */
    int busy;               /* an input of a running compaction */
};

struct picker_run {
    uint32_t level;
    uint64_t no;
    struct picker_segment *segments; /* ascending by key */
    size_t count;
};

struct picker_view {
    struct picker_run *runs; /* newest first, as in struct version */
    size_t run_count;
    uint64_t oldest_snapshot_seq; /* UINT64_MAX: there is none */
    uint64_t flush_bytes;         /* about what one flush writes */
    uint64_t floor_bytes;         /* so much may always be dead, however little there is */
    uint64_t segment_size_bytes;
    uint32_t segments_max;
    uint64_t room_bytes;      /* of the disk: a larger merge would fail; 0: not known */
    int idle;                 /* nobody writes: reads are worth a merge that nothing makes due */
    int low;                  /* writes are refused: what is dead goes before anything is due */
    int compact_all;          /* varve_compact(): until one run in the last level is left */
    uint64_t compact_all_seq; /* segments whose every sequence is above are left alone by that */
};

enum pick_kind {
    PICK_NOTHING,
    PICK_DROP,  /* inputs are wholly dead, and nothing older needs their tombstones: they go */
    PICK_MOVE,  /* the input goes to output_level as it is */
    PICK_MERGE, /* inputs are merged into output_level */
};

enum pick_reason {
    PICK_FOR_DEAD,     /* covered, expired, or full of tombstones */
    PICK_FOR_LEVEL0,   /* too many runs at one place, or, at rest, several of like size */
    PICK_FOR_SPACE,    /* too many bytes above the last level */
    PICK_FOR_LEVEL,    /* a level passed its size */
    PICK_FOR_SEGMENTS, /* too many files */
    PICK_FOR_ALL,      /* varve_compact() */
};

/* What may be dead, in parts of what is not. */
#define PICKER_UPPER_PERCENT 17
/* The floor, in memtables: of 1 GB, with the default memtable, it is less than the percentage. */
#define PICKER_FLOOR_MEMTABLES 2
#define PICK_INPUTS_MAX 4096

struct pick {
    enum pick_kind kind;
    enum pick_reason reason;
    uint64_t *inputs; /* file numbers, in the order of `runs`, then by key; owned */
    size_t input_count;
    uint32_t output_level;
    uint64_t output_run_no;        /* of level 0 */
    uint64_t output_segment_bytes; /* where the output is cut */
    uint64_t input_bytes;
    uint64_t input_entries;
    uint64_t relieved_bytes; /* about so many of upper_dead_bytes will be gone after it, or more */
    int cull; /* of a merge of one input, which stays where it is: what newer segments hide goes, though
               * they take no part */
};

/* 0, with *pick (PICK_NOTHING: nothing is due), or VARVE_ENOMEM. What it chooses keeps the order of
 * version.h: with a segment go all older ones that overlap it, down to the output level. */
int picker_pick(const struct picker_view *view, struct pick *pick) MUST_CHECK;
void pick_deinit(struct pick *pick);

/* The figures behind the choice, for stats, stalls and tests. */
struct picker_debt {
    uint64_t last_level_bytes;
    uint64_t upper_bytes;        /* above the last level */
    uint64_t upper_dead_bytes;   /* about so much is hidden by that, tombstones with it */
    uint64_t upper_target_bytes; /* how much that may be */
    uint64_t floor_gives_bytes;  /* of the target: more than the percentage of so few data */
    uint64_t flush_dead_bytes;   /* about so much does a flush add to upper_dead_bytes */
    uint32_t level0_depth;       /* most runs of level 0 at one place */
    uint32_t last_level;
    uint64_t targets[VARVE_LEVELS_MAX];
    uint64_t dead_bytes; /* estimate: that, and what expired */
};
void picker_debt(const struct picker_view *view, struct picker_debt *debt);

#endif
